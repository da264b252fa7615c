"""A batch through a model that fails."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.models.fakes import FATAL, NOT_FINITE, RAISES, Fake
from worker.errors import Fatal, Reason, Rejected
from worker.models.classifier import PixelBatch, ScoreBatch
from worker.models.runner import Result, Runner

values = st.integers(0, 200) | st.sampled_from([RAISES, NOT_FINITE])


def batch(*values: int) -> PixelBatch:
    return np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)


def end(result: Result) -> int | Reason:
    return result.reason if isinstance(result, Rejected) else int(result.argmax())


@given(st.lists(values, min_size=1, max_size=20), st.integers(1, 20))
def test_each_image_gets_its_own_end_whatever_the_others_do(images: list[int], fits: int) -> None:
    expected = {RAISES: Reason.MODEL_FAILED, NOT_FINITE: Reason.INVALID_SCORES}
    run = Runner(Fake(fits), max_size=20).run(batch(*images))
    assert [end(result) for result in run.results] == [expected.get(value, value) for value in images]


def test_out_of_memory_halves_and_the_ceiling_is_remembered() -> None:
    model = Fake(fits=5)
    runner = Runner(model, max_size=16)
    assert runner.run(batch(*range(16))).splits == 2
    assert runner.ceiling == 4
    assert model.sizes == [16, 8, 4, 4, 4, 4]
    runner.run(batch(*range(16)))
    assert model.sizes[6:] == [4, 4, 4, 4]


def test_one_image_that_does_not_fit_is_the_only_one_lost() -> None:
    run = Runner(Fake(fits=0), max_size=4).run(batch(1))
    assert end(run.results[0]) is Reason.MODEL_FAILED
    assert "did not fit" in str(run.results[0])


def test_the_reason_tells_what_the_model_said() -> None:
    run = Runner(Fake(), max_size=4).run(batch(1, RAISES))
    assert "ValueError: no such image" in str(run.results[1])
    assert run.splits == 1


def test_a_lost_device_is_not_taken_for_a_bad_image() -> None:
    with pytest.raises(Fatal, match="device is lost"):
        Runner(Fake(), max_size=4).run(batch(1, FATAL))


def test_scores_of_a_wrong_shape_stop_the_worker() -> None:
    class Short(Fake):
        def predict(self, batch: PixelBatch) -> ScoreBatch:
            return super().predict(batch)[:-1]

    with pytest.raises(Fatal, match="shape"):
        Runner(Short(), max_size=4).run(batch(1, 2))
