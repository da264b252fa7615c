"""What each threshold would do, and which are suggested."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from tests.unit.trial.sheets import answers, any_answers, sure
from worker.trial.answers import Answers
from worker.trial.labels import ENOUGH
from worker.trial.review import cheapest, review
from worker.trial.thresholds import THRESHOLDS, curves

NAMES = tuple("abcdefgh")


def test_each_threshold_is_counted_by_hand() -> None:
    scores = [[0.9, 0.1]] * 8 + [[0.3, 0.7]] * 4
    (a, b) = curves(answers([0] * 10 + [1] * 2, scores), NAMES)
    at = {round(float(threshold), 2): place for place, threshold in enumerate(THRESHOLDS)}
    assert (a.taken[at[0.3]], a.hits[at[0.3]]) == (12, 10)
    assert (a.taken[at[0.31]], a.hits[at[0.31]]) == (8, 8)
    assert (a.taken[at[0.9]], a.taken[at[0.91]]) == (8, 0)
    assert (b.taken, b.suggestion, b.why_not) == ((), None, "only 2 of the 10 images that it takes")


def test_a_label_apart_from_all_others_is_acted_on_from_the_lowest_score_that_parts_them() -> None:
    scores = [[0.8, 0.2]] * 20 + [[0.4, 0.6]] * 20
    a, _ = curves(answers([0] * 20 + [1] * 20, scores), NAMES)
    assert a.suggestion is not None
    assert (a.suggestion.review, a.suggestion.act) == (None, pytest.approx(0.41))
    assert (a.suggestion.reviewed, a.suggestion.missed, a.suggestion.wrong) == (0, 0, 0)
    assert a.suggestion.note == "acting alone finds enough"


def test_what_lies_between_is_reviewed() -> None:
    # Of a: 12 above all others, 8 among as many of b, of which one is under everything.
    scores = [[0.9, 0.1]] * 12 + [[0.5, 0.5]] * 8 + [[0.5, 0.5]] * 8 + [[0.02, 0.98]] * 12
    a, _ = curves(answers([0] * 20 + [1] * 20, scores), NAMES)
    assert a.suggestion is not None
    assert (a.suggestion.review, a.suggestion.act) == (pytest.approx(0.5), pytest.approx(0.51))
    assert (a.suggestion.reviewed, a.suggestion.missed, a.suggestion.wrong) == (pytest.approx(16 / 40), 0, 0)


def test_a_label_that_is_not_found_says_so() -> None:
    scores = [[0.9, 0.1]] * 12 + [[0.001, 0.999]] * 8
    (a,) = curves(answers([0] * 20, scores), NAMES)
    assert a.suggestion is not None
    assert (a.suggestion.review, a.suggestion.act) == (None, pytest.approx(0.01))
    assert (a.suggestion.note, a.suggestion.missed) == ("even 0.01 finds only 60% of its images", pytest.approx(0.4))


def test_a_label_that_is_neither_found_nor_told_apart_gets_none() -> None:
    scores = [[0.001, 0.999]] * 10 + [[0.9, 0.1]] * 10
    a, _ = curves(answers([0] * 10 + [1] * 10, scores), NAMES)
    assert a.suggestion is None
    assert a.why_not == "no threshold is precise enough, and even 0.01 finds only 0% of its images"


@settings(deadline=None)
@given(any_answers())
def test_a_suggestion_keeps_what_it_promises(found: Answers) -> None:
    for curve in curves(found, NAMES):
        label = NAMES.index(curve.label)
        if (suggestion := curve.suggestion) is None:
            continue
        mine = found.image[found.label == label]
        score = dict(zip(mine.tolist(), found.score[found.label == label].tolist(), strict=True))
        if suggestion.act is not None:
            taken = [image for image, value in score.items() if value >= suggestion.act - 1e-7]
            assert len(taken) >= ENOUGH
            assert sum(found.truth[image] == label for image in taken) >= 0.95 * len(taken)
        if suggestion.review is not None:
            seen = [image for image, value in score.items() if value >= suggestion.review - 1e-7]
            assert sum(found.truth[image] == label for image in seen) >= 0.95 * curve.images
            assert suggestion.act is None or suggestion.review < suggestion.act


def test_review_and_error_at_each_threshold() -> None:
    points = review(sure([0, 0, 0, 0], [0, 0, 1, 1], [0.95, 0.6, 0.7, 0.55], 2))
    at = {round(point.threshold, 2): point for point in points}
    assert (at[0].reviewed, at[0].error, at[0].left) == (0, 0.5, 4)
    assert (at[0.56].reviewed, at[0.56].error) == (0.25, pytest.approx(1 / 3))
    assert (at[0.65].reviewed, at[0.65].error) == (0.5, 0.5)
    assert (at[0.8].reviewed, at[0.8].error) == (0.75, 0)
    assert (at[0.99].reviewed, at[0.99].error, at[0.99].left) == (1, None, 0)


def test_the_cheapest_review_leaves_enough_images_to_say_so() -> None:
    few = review(sure([0] * 20, [0] * 9 + [1] * 11, [0.9] * 9 + [0.6] * 11, 2))
    enough = review(sure([0] * 20, [0] * 10 + [1] * 10, [0.9] * 10 + [0.6] * 10, 2))
    assert cheapest(few, 0.05) is None
    point = cheapest(enough, 0.05)
    assert point is not None
    assert (point.threshold, point.reviewed, point.left) == (pytest.approx(0.61), 0.5, 10)
