"""What is kept of a model's answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from tests.unit.trial.sheets import answers, any_answers
from worker.trial.answers import Answers, AnswerSheet
from worker.trial.classes import Classes


def test_rank_is_the_place_of_the_true_label() -> None:
    row = [0.5, 0.3, 0.15, 0.05]
    found = answers([0, 1, 2, 3], [row] * 4)
    assert found.rank.tolist() == [0, 1, 2, 3]
    assert found.predicted.tolist() == [0, 0, 0, 0]
    assert found.right.tolist() == [True, False, False, False]


def test_of_equal_scores_the_first_label_comes_first() -> None:
    found = answers([0, 1, 2], [[0.4, 0.4, 0.2]] * 2 + [[0.2, 0.4, 0.4]])
    assert found.rank.tolist() == [0, 1, 1]
    assert found.predicted.tolist() == [0, 0, 1]


@given(any_answers())
def test_an_answer_is_right_exactly_when_its_rank_is_0(found: Answers) -> None:
    assert (found.right == (found.rank == 0)).all()


def test_scores_under_the_floor_are_not_kept() -> None:
    found = answers([0, 1], [[0.99, 0.005, 0.005], [0.3, 0.69, 0.01]])
    assert found.image.tolist() == [0, 1, 1, 1]
    assert found.label.tolist() == [0, 0, 1, 2]
    assert found.score.tolist() == pytest.approx([0.99, 0.3, 0.69, 0.01])


def test_scores_that_do_not_sum_to_1_are_no_distribution() -> None:
    assert answers([0], [[0.7, 0.3]]).distribution
    assert not answers([0, 0], [[0.7, 0.3], [0.9, 0.8]]).distribution


def test_labels_made_one_have_the_higher_score_and_stay_a_distribution() -> None:
    sheet = AnswerSheet(Classes(("a", "b (1 or 2)"), np.array([0, 1, 1])))
    answer = sheet.add(1, np.array([0.4, 0.35, 0.25], np.float32))
    assert (answer.predicted, answer.rank) == (0, 1)
    assert answer.truth_score == pytest.approx(0.35)
    assert sheet.answers().distribution
