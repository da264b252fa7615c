"""Images join batches on the event loop; one inference thread runs the model, batch after batch."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import structlog

from worker.errors import Fatal, Rejected
from worker.models.batch import Flush, FlushRule, Gathering
from worker.models.classifier import Classifier, PixelBatch
from worker.models.onway import OnWay, Passage
from worker.models.runner import Run, Runner, Scores
from worker.models.settings import BatchSettings
from worker.models.thread import InferenceThread
from worker.observe.metrics import Metrics
from worker.observe.watchdog import Part
from worker.records import Head, Prediction

log = structlog.get_logger(__name__)

_CHANNELS = 3
_CLOSE_S = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    """One image that joined, and who waits for its scores."""

    array: npt.NDArray[np.uint8]
    joined_s: float
    answer: asyncio.Future[Prediction]


@dataclass(slots=True, eq=False)
class _Batch:
    """A buffer that fills up, image by image, until it leaves."""

    buffer: PixelBatch
    images: list[_Image] = field(default_factory=list)
    flush: Flush = Flush.SIZE

    def add(self, image: _Image) -> None:
        self.buffer[len(self.images)] = image.array
        self.images.append(image)


class Batcher:
    """Gathers images into batches and gives each caller its own image's scores.

    All state here belongs to the event loop's thread. The pixels are copied into the batch's buffer when
    they join, so that a batch is whole the moment it leaves and the model never waits for it to be put together.
    One buffer gathers, one or two are under way, and `queue_depth` stand ready between them: so a device that works
    ahead has the next batch on its way while it computes. Callers that find all of them full wait, in their order.
    """

    def __init__(self, classifier: Classifier, settings: BatchSettings, metrics: Metrics) -> None:
        self._rule = FlushRule(settings.size, settings.max_age_ms / 1000)
        self._metrics = metrics
        self._shape = (settings.size, classifier.recipe.height, classifier.recipe.width, _CHANNELS)
        self._runner = Runner(classifier, settings.size)
        self.buffers = 1 + self._runner.at_once + settings.queue_depth
        """Of batches, the one that gathers among them."""
        self._thread = InferenceThread(self._runner, self._done, self._died)
        self._on_way = OnWay(self._rule.max_age_s, self.look_again)
        self._free = [np.empty(self._shape, np.uint8) for _ in range(self.buffers)]
        self._gathering = _Batch(self._free.pop())
        self._door: deque[_Image] = deque()
        self._computing: deque[_Batch] = deque()
        self._looking = False
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = math.inf
        self._draining = False
        self._death: str | None = None

    @property
    def head(self) -> Head:
        """Labels and identity of the batches to come."""
        return self._runner.head

    def start(self) -> None:
        """Starts the inference thread. Called once, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def part(self, limit_s: float) -> Part:
        """What a watchdog watches: a model that takes longer than this for a batch stands still."""
        return Part("inference thread", self._thread.thread, lambda: self._thread.busy_since_s, limit_s, must_live=True)

    def expected(self) -> Passage:
        """`with batcher.expected():` round a part of an image's way to `join`, so that a batch may wait for it.

        Leave the last one with the pixels in hand and call `join` before awaiting anything else: the batcher looks at
        the change only when the event loop comes round, and then the image has joined.
        """
        return self._on_way.passage()

    def join(self, array: npt.NDArray[np.uint8]) -> asyncio.Future[Prediction]:
        """Have one image, or one frame of it, `(H, W, 3) uint8`, join a batch. The future gets its scores.

        It gets Rejected for this image (`model_failed`, `model_output_invalid`), Fatal where the model is gone; a
        future that is cancelled leaves its batch as it is. Raises Fatal where no image can join any more.
        """
        self._check_open()
        if array.shape != self._shape[1:]:
            raise Fatal(f"an image of shape {array.shape} came to a model of {self._shape[1:]}: a decoder's bug")
        image = _Image(array, time.monotonic(), self._loop.create_future())
        self._door.append(image)
        self.look_again()
        return image.answer

    async def close(self) -> None:
        """Runs what has joined, then ends the thread. Returns at once where the thread has died.

        A model that does not come back is left behind: whoever closes has its scores, or wants them no more.
        """
        self._draining = True
        self.look_again()
        try:
            await asyncio.wait_for(self._thread.over(), _CLOSE_S)
        except TimeoutError:
            log.error("model.left_behind", after_s=_CLOSE_S, next="end without it")

    def memory_bytes(self) -> int:
        """A bound on what batches hold: all buffers, and one of them as float32 on the device with a copy of it.

        The model's weights and activations come on top; they are the model's and the device's.
        """
        buffer = int(np.prod(self._shape))
        return buffer * self.buffers + 2 * buffer * np.dtype(np.float32).itemsize

    def look_again(self) -> None:
        """Has the batch looked at when the event loop comes round: once for all that happened until then."""
        if not self._looking:
            self._looking = True
            self._loop.call_soon(self._look)

    def _check_open(self) -> None:
        if self._death is not None:
            raise Fatal(self._death)
        if self._draining:
            raise Fatal("the batcher is closed: no image can join any more")

    def _look(self) -> None:
        self._looking = False
        if self._death is not None:
            return
        self._let_in()
        while self._free and (reason := self._rule.reason(self._state(), time.monotonic())):
            self._send(reason)
            self._let_in()
        self._set_timer()
        if self._draining and not (self._computing or self._gathering.images or self._door):
            self._thread.end()

    def _let_in(self) -> None:
        batch = self._gathering
        while self._door and len(batch.images) < self._rule.max_size:
            image = self._door.popleft()
            if not image.answer.done():
                batch.add(image)

    def _state(self) -> Gathering:
        images = self._gathering.images
        return Gathering(
            count=len(images),
            oldest_s=images[0].joined_s if images else 0.0,
            expected_until_s=self._on_way.until_s,
            model_idle=not self._computing,
            draining=self._draining,
        )

    def _send(self, reason: Flush) -> None:
        batch, self._gathering = self._gathering, _Batch(self._free.pop())
        batch.flush = reason
        self._computing.append(batch)
        self._thread.submit(batch.buffer[: len(batch.images)])

    def _set_timer(self) -> None:
        """For when the batch leaves by itself. Where no buffer is free, the end of a batch looks again."""
        due_s = self._rule.due_s(self._state()) if self._gathering.images and self._free else math.inf
        if due_s >= self._due_s:
            return  # a timer that is early looks again, which is cheaper than to move it for each image that sets out
        if self._timer is not None:
            self._timer.cancel()
        self._due_s = due_s
        self._timer = self._loop.call_later(max(0.0, due_s - time.monotonic()), self._fall_due)

    def _fall_due(self) -> None:
        self._due_s = math.inf
        self._look()

    def _done(self, run: Run) -> None:
        batch = self._computing.popleft()
        self._free.append(batch.buffer)
        self._count(batch, run)
        for image, result in zip(batch.images, run.results, strict=True):
            if image.answer.done():
                continue  # its caller was cancelled
            if isinstance(result, Rejected):
                image.answer.set_exception(result)
            else:
                image.answer.set_result(_prediction(batch, run, image, result))
        self.look_again()

    def _count(self, batch: _Batch, run: Run) -> None:
        self._metrics.batch_size.observe(len(batch.images))
        self._metrics.batches.labels(batch.flush.value).inc()
        self._metrics.batch_splits.inc(run.splits)
        self._metrics.model_seconds.observe(run.compute_s)

    def _died(self, why: str) -> None:
        self._death = why
        in_batches = [image for batch in (*self._computing, self._gathering) for image in batch.images]
        for image in (*in_batches, *self._door):
            if not image.answer.done():
                image.answer.set_exception(Fatal(why))


def _prediction(batch: _Batch, run: Run, image: _Image, scores: Scores) -> Prediction:
    return Prediction(
        scores=scores,
        head=run.head,
        batch_size=len(batch.images),
        flush_reason=batch.flush.value,
        wait_s=run.started_s - image.joined_s,
        compute_s=run.compute_s,
    )
