"""A batch through a model that fails."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.models.fakes import FATAL, NOT_FINITE, RAISES, Fake
from worker.errors import Fatal, Reason, Rejected
from worker.models.classifier import OutOfMemory, PixelBatch, ScoreBatch
from worker.models.runner import Result, Run, Runner

values = st.integers(0, 200) | st.sampled_from([RAISES, NOT_FINITE])


def batch(*values: int) -> PixelBatch:
    return np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)


def run(runner: Runner, *values: int) -> Run:
    return runner.finish(runner.begin(batch(*values)))


def end(result: Result) -> int | Reason:
    return result.reason if isinstance(result, Rejected) else int(result.argmax())


@given(st.lists(values, min_size=1, max_size=20), st.integers(1, 20))
def test_each_image_gets_its_own_end_whatever_the_others_do(images: list[int], fits: int) -> None:
    expected = {RAISES: Reason.MODEL_FAILED, NOT_FINITE: Reason.MODEL_OUTPUT_INVALID}
    ran = run(Runner(Fake(fits), max_size=20), *images)
    assert [end(result) for result in ran.results] == [expected.get(value, value) for value in images]


def test_out_of_memory_halves_and_the_ceiling_is_remembered() -> None:
    model = Fake(fits=5)
    runner = Runner(model, max_size=16)
    assert run(runner, *range(16)).splits == 2
    assert runner.ceiling.size == 4
    assert model.sizes == [16, 8, 4, 4, 4, 4]
    run(runner, *range(16))
    assert model.sizes[6:] == [4, 4, 4, 4]


def test_one_image_that_does_not_fit_is_the_only_one_lost() -> None:
    ran = run(Runner(Fake(fits=0), max_size=4), 1)
    assert end(ran.results[0]) is Reason.MODEL_FAILED
    assert "did not fit" in str(ran.results[0])


def test_the_reason_tells_what_the_model_said() -> None:
    ran = run(Runner(Fake(), max_size=4), 1, RAISES)
    assert "ValueError: no such image" in str(ran.results[1])
    assert ran.splits == 1


def test_a_lost_device_is_not_taken_for_a_bad_image() -> None:
    with pytest.raises(Fatal, match="device is lost"):
        run(Runner(Fake(), max_size=4), 1, FATAL)


def test_scores_of_a_wrong_shape_stop_the_worker() -> None:
    class Short(Fake):
        def predict(self, batch: PixelBatch) -> ScoreBatch:
            return super().predict(batch)[:-1]

    with pytest.raises(Fatal, match="shape"):
        run(Runner(Short(), max_size=4), 1, 2)


def test_a_model_that_gives_nothing_finite_for_a_black_image_either_stops_the_worker() -> None:
    class Broken(Fake):
        def predict(self, batch: PixelBatch) -> ScoreBatch:
            return super().predict(batch) * np.nan

    with pytest.raises(Fatal, match=r"not finite numbers, for a black image too.*precision"):
        run(Runner(Broken(), max_size=4), 1, 2)


def test_images_that_make_a_good_model_overflow_cost_only_themselves() -> None:
    ran = run(Runner(Fake(), max_size=4), NOT_FINITE, NOT_FINITE, NOT_FINITE)
    assert [end(result) for result in ran.results] == [Reason.MODEL_OUTPUT_INVALID] * 3


class Device(Fake):
    """Works ahead. Notes what it begins and what is waited for, by the first image's value."""

    def __init__(self, fits: int = 1_000) -> None:
        super().__init__(fits)
        self.order: list[str] = []

    def begin(self, batch: PixelBatch) -> Callable[[], ScoreBatch]:
        value = batch[0, 0, 0, 0]
        self.order.append(f"begin {value}")
        if len(batch) > self.fits:
            raise OutOfMemory("no room beside the batch under way")

        def wait() -> ScoreBatch:
            self.order.append(f"wait {value}")
            return self.predict(batch)

        return wait


def test_a_device_that_works_ahead_gets_the_next_batch_before_the_last_one_is_waited_for() -> None:
    device = Device()
    runner = Runner(device, max_size=4)
    assert runner.at_once == 2
    first, second = runner.begin(batch(1, 2)), runner.begin(batch(3))
    ends = [end(result) for begun in (first, second) for result in runner.finish(begun).results]
    assert ends == [1, 2, 3]
    assert device.order == ["begin 1", "begin 3", "wait 1", "wait 3"]


def test_what_cannot_begin_beside_another_batch_is_tried_alone() -> None:
    device = Device(fits=2)
    runner = Runner(device, max_size=4)
    ran = run(runner, 1, 2, 3, 4)
    assert [end(result) for result in ran.results] == [1, 2, 3, 4]
    assert (ran.splits, runner.ceiling.size) == (1, 2)
    assert device.order == ["begin 1"]


def test_a_batch_that_fails_on_its_way_is_taken_apart() -> None:
    ran = run(Runner(Device(), max_size=4), 1, RAISES, 3)
    assert [end(result) for result in ran.results] == [1, Reason.MODEL_FAILED, 3]


class Changing(Device):
    """Takes up other labels when it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.renewal_waits = False

    def renew(self) -> None:
        if self.renewal_waits:
            self.labels = (*self.labels[:-1], "another")
            self.renewal_waits = False


def test_labels_change_only_while_no_batch_is_under_way() -> None:
    model = Changing()
    runner = Runner(model, max_size=4)
    before = runner.head
    first = runner.begin(batch(1))
    model.renewal_waits = True
    assert runner.at_once == 1
    assert runner.finish(first).head is before
    after = run(runner, 2).head
    assert after is runner.head is not before
    assert after.labels[-1] == "another"
    assert run(runner, 3).head is after
