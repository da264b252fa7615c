"""The figures, against what is counted by hand, and what must hold of any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from tests.unit.trial.sheets import answers, any_answers, sure
from worker.trial.answers import Answers
from worker.trial.bootstrap import Estimate, draws
from worker.trial.calibration import bins, ece
from worker.trial.confusions import confusions
from worker.trial.figures import add_up
from worker.trial.labels import ENOUGH, labels, mean_recall

NAMES = tuple("abcdefgh")


def test_top_1_and_top_5_are_shares_of_the_images() -> None:
    row = [0.3, 0.2, 0.15, 0.12, 0.11, 0.07, 0.05]
    figures = add_up(answers([0, 1, 4, 5], [row] * 4), NAMES)
    assert figures.top1.value == 0.25
    assert figures.top5.value == 0.75


def test_top_5_of_five_labels_says_nothing() -> None:
    assert add_up(sure([0, 1], [1, 1], 0.9, 5), NAMES).top5.value is None
    assert add_up(sure([0, 1], [1, 1], 0.9, 6), NAMES).top5.value == 1


def test_precision_and_recall_of_each_label() -> None:
    # Of a: 3 images, 2 hits, and one b is taken for it. Of c: predicted once, without an image.
    found = sure([0, 0, 0, 1, 1], [0, 0, 2, 0, 1], 0.9, 4)
    by_name = {label.label: label for label in labels(found, NAMES)}
    assert set(by_name) == {"a", "b", "c"}
    a, b, c = by_name["a"], by_name["b"], by_name["c"]
    assert (a.images, a.predicted, a.hits) == (3, 3, 2)
    assert (a.precision.value, a.recall.value, a.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (b.precision.value, b.recall.value, b.f1) == (1, 0.5, pytest.approx(2 / 3))
    assert (c.precision.value, c.recall.value, c.f1) == (0, None, 0)
    assert mean_recall(found).value == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_label_that_is_never_predicted_has_no_precision() -> None:
    (_, b) = labels(sure([0, 1], [0, 0], 0.9, 2), NAMES)
    assert (b.label, b.precision.value, b.recall.value) == ("b", None, 0)


def test_only_shares_of_enough_images_have_intervals() -> None:
    truth = [0] * ENOUGH + [1] * (ENOUGH - 1) + [2] * ENOUGH
    predicted = [0] * (2 * ENOUGH - 2) + [1] + [2] * (ENOUGH - 1) + [1]
    a, b, c = labels(sure(truth, predicted, 0.9, 3), NAMES)
    assert a.precision.low is not None
    assert a.precision.low < a.precision.value < a.precision.high  # type: ignore[operator]
    assert (b.recall.low, b.precision.low) == (None, None)
    assert c.recall.low is not None
    assert c.precision == Estimate(1.0)  # of nine images


def test_where_all_images_agree_there_is_no_interval() -> None:
    figures = add_up(sure([0, 1] * 20, [0, 1] * 20, 1.0, 2), NAMES)
    assert (figures.top1, figures.labels[0].recall) == (Estimate(1.0), Estimate(1.0))
    assert (figures.mean_recall, figures.ece) == (Estimate(1.0), Estimate(0.0))


def test_confusions_are_ordered_by_count_times_confidence() -> None:
    truth, predicted = [0, 0, 0, 1, 2, 2], [1, 1, 0, 0, 0, 2]
    found = confusions(sure(truth, predicted, [0.4, 0.5, 0.9, 0.95, 0.6, 0.9], 3), NAMES)
    assert [(one.truth, one.predicted, one.count) for one in found] == [("b", "a", 1), ("a", "b", 2), ("c", "a", 1)]
    assert [one.share for one in found] == pytest.approx([1, 2 / 3, 1 / 2])
    assert [one.weight for one in found] == pytest.approx([0.95, 0.9, 0.6])


def test_calibration_by_hand() -> None:
    # Two answers of 0.95 in the last bin, one right; one of 0.55, right, in the bin from 8/15 to 9/15.
    found = sure([0, 0, 1], [0, 1, 1], [0.95, 0.95, 0.55], 2)
    assert ece(found).value == pytest.approx((abs(2 * 0.95 - 1) + abs(0.55 - 1)) / 3)
    filled = {place: one for place, one in enumerate(bins(found)) if one.count}
    assert set(filled) == {8, 14}
    assert (filled[14].count, filled[14].accuracy, filled[14].confidence) == (2, 0.5, pytest.approx(0.95))


def test_a_model_that_is_sure_and_right_is_calibrated_and_one_that_is_sure_and_wrong_is_not() -> None:
    assert ece(sure([0, 1], [0, 1], 1.0, 2)).value == 0
    assert ece(sure([0, 1], [1, 0], 1.0, 2)).value == 1


@settings(deadline=None, max_examples=60)
@given(any_answers())
def test_what_holds_of_any_answers(found: Answers) -> None:
    figures = add_up(found, NAMES)
    accuracy = float((found.predicted == found.truth).mean())
    assert figures.top1.value == pytest.approx(accuracy)
    assert figures.top5.value is None or figures.top5.value >= figures.top1.value  # type: ignore[operator]
    assert sum(one.count for one in figures.bins) == len(found.truth)
    # The bins' gaps cannot cancel less than the gap over all, and none is above 1.
    assert abs(found.confidence.mean() - accuracy) - 1e-6 <= figures.ece.value <= 1  # type: ignore[operator]
    for label in figures.labels:
        assert label.hits <= min(label.images, label.predicted)
    assert sum(label.hits for label in figures.labels) == found.right.sum()
    assert sum(one.count for one in figures.confusions) == len(found.truth) - found.right.sum()
    for estimate in (figures.top1, figures.ece, figures.mean_recall):
        if estimate.low is not None:
            assert 0 <= estimate.low < estimate.high <= 1  # type: ignore[operator]


def test_intervals_are_the_same_each_time_and_shrink_with_the_images() -> None:
    few, many = (sure([0, 1] * half, [0, 0] * half, 0.9, 2) for half in (20, 2000))
    assert add_up(few, NAMES) == add_up(few, NAMES)
    narrow, wide = add_up(many, NAMES).top1, add_up(few, NAMES).top1
    assert narrow.high - narrow.low < 0.2 * (wide.high - wide.low)  # type: ignore[operator]


def test_an_interval_is_that_of_the_binomial_distribution() -> None:
    """Of a mean the bootstrap's draws are binomial: 1.96 standard errors, give or take what 2000 draws leave open."""
    top1 = add_up(sure([0] * 900 + [1] * 100, [0] * 1000, 0.9, 2), NAMES).top1
    half = 1.96 * np.sqrt(0.9 * 0.1 / 1000)
    assert (top1.low, top1.high) == (pytest.approx(0.9 - half, abs=0.002), pytest.approx(0.9 + half, abs=0.002))


def test_intervals_agree_with_plain_resampling() -> None:
    random = np.random.default_rng(3)
    truth = np.append(random.integers(0, 3, 119), 3)  # of the last label a draw may have no image
    predicted = np.where(random.random(120) < 0.7, truth, random.integers(0, 3, 120))
    found = sure(truth.tolist(), predicted.tolist(), 0.9, 4)
    recalls, means = [], []
    for chosen in (chosen for draw in draws(120) for chosen in draw):
        each = [(predicted[mine] == label).mean() for label in range(4) if len(mine := chosen[truth[chosen] == label])]
        recalls.append(each[1])
        means.append(np.mean(each))
    by_name = {label.label: label for label in labels(found, NAMES)}
    for estimate, values in ((by_name["b"].recall, recalls), (mean_recall(found), means)):
        assert estimate.low == pytest.approx(np.quantile(values, 0.025), abs=1e-6)
        assert estimate.high == pytest.approx(np.quantile(values, 0.975), abs=1e-6)
