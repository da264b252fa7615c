"""The batcher: who goes with whom, and what a failure costs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from tests.unit.models.fakes import FATAL, NOT_FINITE, RAISES, Fake, Held, pixels
from worker.errors import Fatal, Reason, Rejected
from worker.models.classifier import Classifier, PixelBatch, ScoreBatch
from worker.models.inference import Batcher
from worker.models.settings import BatchSettings
from worker.observe.metrics import Metrics
from worker.records import Prediction

NEVER_MS = 60_000.0


@asynccontextmanager
async def running(
    model: Classifier, metrics: Metrics | None = None, *, max_size: int = 4, max_age_ms: float = NEVER_MS
) -> AsyncIterator[Batcher]:
    settings = BatchSettings(max_size=max_size, max_age_ms=max_age_ms, queue_depth=1)
    batcher = Batcher(model, settings, metrics or Metrics())
    batcher.start()
    yield batcher
    await batcher.close()


def label(prediction: Prediction) -> int:
    return int(prediction.scores.argmax())


async def classify(batcher: Batcher, value: int) -> Prediction:
    return await batcher.join(pixels(value))


async def classify_all(batcher: Batcher, values: list[int]) -> list[Prediction | BaseException]:
    return await asyncio.gather(*(classify(batcher, value) for value in values), return_exceptions=True)


async def entered(model: Held) -> None:
    """Until the model has taken a batch."""
    await asyncio.get_running_loop().run_in_executor(None, model.entered.acquire)


async def test_each_caller_gets_the_scores_of_its_own_image() -> None:
    async with running(Fake()) as batcher:
        answers = await classify_all(batcher, list(range(100)))
    assert [label(answer) for answer in answers if isinstance(answer, Prediction)] == list(range(100))


async def test_a_lone_image_does_not_wait_for_the_age() -> None:
    async with running(Fake()) as batcher:
        prediction = await classify(batcher, 7)
    assert (prediction.flush_reason, prediction.batch_size) == ("idle", 1)


async def test_a_full_batch_leaves_at_once_even_when_more_are_expected() -> None:
    async with running(Fake()) as batcher:
        with batcher.expected():
            answers = await classify_all(batcher, [1, 2, 3, 4])
    assert {(answer.flush_reason, answer.batch_size) for answer in answers if isinstance(answer, Prediction)} == {
        ("size", 4)
    }


async def test_a_batch_leaves_at_its_age_while_more_are_expected() -> None:
    async with running(Fake(), max_age_ms=1.0) as batcher:
        joined = batcher.join(pixels(1))
        with batcher.expected():
            prediction = await joined
    assert prediction.flush_reason == "age"
    assert prediction.wait_s >= 0.001


async def test_an_image_that_hangs_on_its_way_costs_the_others_nothing() -> None:
    async with running(Fake(), max_age_ms=1.0) as batcher:
        with batcher.expected():
            await asyncio.sleep(0.002)
            assert (await classify(batcher, 1)).flush_reason == "idle"


async def test_images_on_their_way_together_go_in_one_batch() -> None:
    async with running(Fake()) as batcher:

        async def event(value: int) -> Prediction:
            with batcher.expected():
                for _ in range(value):
                    await asyncio.sleep(0)
            return await classify(batcher, value)

        answers = await asyncio.gather(*(event(value) for value in (1, 5, 9)))
    assert [(answer.flush_reason, answer.batch_size) for answer in answers] == [("idle", 3)] * 3


async def test_an_event_that_ends_before_joining_frees_those_who_waited_for_it() -> None:
    async with running(Fake()) as batcher:

        async def broken() -> None:
            with batcher.expected():
                await asyncio.sleep(0)
                raise Rejected(Reason.BROKEN_IMAGE, "truncated")

        ending = asyncio.create_task(broken())
        waiting = asyncio.create_task(classify(batcher, 1))
        with pytest.raises(Rejected):
            await ending
        assert (await waiting).flush_reason == "idle"


async def test_a_busy_model_collects_the_next_batch() -> None:
    model = Held()
    async with running(model) as batcher:
        first = asyncio.create_task(classify(batcher, 1))
        await entered(model)
        others = asyncio.create_task(classify_all(batcher, [2, 3, 4]))
        await asyncio.sleep(0)
        model.let_go(2)
        assert (await first).batch_size == 1
        assert {answer.batch_size for answer in await others if isinstance(answer, Prediction)} == {3}
    assert model.sizes == [1, 3]


async def test_more_images_than_buffers_wait_in_their_order() -> None:
    model = Held()
    async with running(model) as batcher:
        waiting = asyncio.create_task(classify_all(batcher, list(range(30))))
        await entered(model)
        model.let_go(30)
        answers = await waiting
    assert [label(answer) for answer in answers if isinstance(answer, Prediction)] == list(range(30))
    assert max(model.sizes) == 4


class Ahead(Fake):
    """A device that works ahead. Notes what it begins, and what is waited for, which takes until `let_go`."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []
        self.waited_for = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)

    def begin(self, batch: PixelBatch) -> Callable[[], ScoreBatch]:
        number = batch[0, 0, 0, 0] // 2
        self.order.append(f"begin {number}")
        scores = self.predict(batch)

        def wait() -> ScoreBatch:
            self.order.append(f"wait {number}")
            self.waited_for.release()
            self.let_go.acquire()
            return scores

        return wait


async def test_the_next_batch_is_on_its_way_to_the_device_before_that_has_nothing_left_to_do() -> None:
    device = Ahead()
    async with running(device, max_size=2) as batcher:
        with batcher.expected():
            waiting = asyncio.create_task(classify_all(batcher, list(range(10))))
            for number in range(5):
                await asyncio.get_running_loop().run_in_executor(None, device.waited_for.acquire)
                if number < 3:
                    await one_stands_ready(batcher)
                device.let_go.release()
            await waiting
    for number in (1, 2, 3):
        assert device.order.index(f"begin {number + 1}") < device.order.index(f"wait {number}"), device.order


async def one_stands_ready(batcher: Batcher) -> None:
    """A second is enough for it, where there is a buffer for it."""
    for _ in range(200):
        if not batcher._thread._batches.empty():
            return
        await asyncio.sleep(0.005)


async def test_a_cancelled_caller_leaves_its_batch_as_it_is() -> None:
    model = Held()
    async with running(model) as batcher:
        tasks = [asyncio.create_task(classify(batcher, value)) for value in (1, 2, 3)]
        await entered(model)
        tasks[1].cancel()
        model.let_go()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[1], asyncio.CancelledError)
    assert [label(answer) for answer in answers if isinstance(answer, Prediction)] == [1, 3]


async def test_a_failing_image_costs_no_other_image() -> None:
    metrics = Metrics()
    async with running(Fake(), metrics) as batcher:
        with batcher.expected():
            answers = await classify_all(batcher, [1, RAISES, NOT_FINITE, 4])
    ends = [answer.reason if isinstance(answer, Rejected) else None for answer in answers]
    assert ends == [None, Reason.MODEL_FAILED, Reason.MODEL_OUTPUT_INVALID, None]
    assert metrics.registry.get_sample_value("image_worker_batch_splits_total") == 2


@pytest.mark.parametrize("model", [Fake(fits=1), Fake(fits=3)])
async def test_out_of_memory_loses_nothing_even_while_draining(model: Fake) -> None:
    async with running(model) as batcher:
        tasks = [asyncio.create_task(classify(batcher, value)) for value in range(11)]
        await asyncio.sleep(0)
    assert [label(await task) for task in tasks] == list(range(11))


async def test_everyone_hears_of_the_death_of_the_thread_then_and_later() -> None:
    model = Held()
    async with running(model) as batcher:
        waiting = asyncio.create_task(classify_all(batcher, [FATAL, *range(20)]))
        await entered(model)
        model.let_go()
        answers = await waiting
        assert all(isinstance(answer, Fatal) and "device is lost" in str(answer) for answer in answers)
        with pytest.raises(Fatal, match="device is lost"):
            await classify(batcher, 1)


async def test_a_bug_that_kills_the_thread_is_fatal_for_everyone() -> None:
    class Gone(Fake):
        def predict(self, batch: object) -> None:  # type: ignore[override]
            raise SystemExit("a library left")

    async with running(Gone()) as batcher:
        with pytest.raises(Fatal, match="inference thread died"):
            await classify(batcher, 1)


async def test_closing_runs_what_has_joined_and_lets_nothing_more_in() -> None:
    async with running(Fake()) as batcher:
        with batcher.expected():
            waiting = asyncio.create_task(classify(batcher, 1))
            await asyncio.sleep(0)
            await batcher.close()
        assert (await waiting).flush_reason == "drain"
        with pytest.raises(Fatal, match="closed"):
            await classify(batcher, 2)


async def test_pixels_of_another_size_are_a_bug_and_not_an_image() -> None:
    wrong = np.zeros((5, 4, 3), np.uint8)
    async with running(Fake()) as batcher:
        with pytest.raises(Fatal, match="shape"):
            await batcher.join(wrong)


async def test_batches_are_counted_by_size_reason_and_time() -> None:
    metrics = Metrics()
    async with running(Fake(), metrics) as batcher:
        with batcher.expected():
            await classify_all(batcher, [1, 2, 3, 4])
        await classify(batcher, 5)
    value: Callable[..., float | None] = metrics.registry.get_sample_value
    assert value("image_worker_batches_total", {"flush": "size"}) == 1
    assert value("image_worker_batches_total", {"flush": "idle"}) == 1
    assert value("image_worker_batch_images_sum") == 5
    assert value("image_worker_model_seconds_count") == 2


async def test_the_bound_on_memory_follows_from_the_settings() -> None:
    async with running(Fake(), max_size=8) as batcher:
        image_bytes = 4 * 4 * 3
        assert batcher.memory_bytes() == 8 * image_bytes * (3 + 2 * 4)
