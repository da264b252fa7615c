"""The way of an image, with or without Kafka: fetch, decode, classify, decide. On the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Protocol

from worker.errors import Rejected, Stage
from worker.images.decoder import Decoder
from worker.images.fetch import Fetcher
from worker.models.inference import Batcher
from worker.observe.metrics import Metrics
from worker.policy import Policy
from worker.records import Decision, ImageReference, Pixels, Prediction
from worker.seen import Seen


class Progress(Protocol):
    """Where something is on its way. A ticket is one."""

    stage: Stage


@dataclass(frozen=True, slots=True)
class Classified:
    """An image that came to the end of the way."""

    pixels: Pixels
    prediction: Prediction
    """Of the frame that decided."""
    decision: Decision
    fetch_s: float
    decode_s: float


class Chain:
    """Fetch, decode, classify, decide."""

    def __init__(
        self,
        fetcher: Fetcher,
        decoder: Decoder,
        batcher: Batcher,
        policy: Policy,
        metrics: Metrics,
        *,
        room: int,
        seen: Seen[Classified],
    ) -> None:
        """`room`: images that may be decoded and not yet classified; the others wait before they are decoded."""
        self._fetcher = fetcher
        self._decoder = decoder
        self._batcher = batcher
        self._policy = policy
        self._room = asyncio.Semaphore(room)
        self._seen = seen
        self._fetched = metrics.stage_seconds.labels("fetch")
        self._decoded = metrics.stage_seconds.labels("decode")
        self._classified = metrics.stage_seconds.labels("classify")

    def held_up(self) -> int:
        """Images that wait for hosts in trouble. May be read from any thread."""
        return self._fetcher.held_up

    async def classify(self, reference: ImageReference, progress: Progress) -> Classified:
        """Take an image all the way. Raises Rejected, Transient or Fatal."""
        async with AsyncExitStack() as room:
            found = await self._look_at(reference, progress, room)
            if isinstance(found, Classified):
                return found
            return await self._judge(*found, progress)

    async def _look_at(
        self, reference: ImageReference, progress: Progress, room: AsyncExitStack
    ) -> Classified | tuple[Pixels, float, float]:
        """The image's pixels, with the seconds of fetching and decoding; or what came of the same bytes before."""
        # The encoded bytes live in this frame only: their share of the budget is free while the pixels are classified.
        progress.stage = Stage.FETCH
        started_s = time.monotonic()
        with self._batcher.expected():
            encoded = await self._fetcher.fetch(reference)
        fetch_s = time.monotonic() - started_s
        self._fetched.observe(fetch_s)
        if (before := self._seen.before(encoded, self._holds)) is not None:
            return replace(before, fetch_s=fetch_s)
        progress.stage = Stage.DECODE
        fetched_s = time.monotonic()
        try:
            with self._batcher.expected():
                await room.enter_async_context(self._room)
                pixels = await self._decoder.decode(encoded)
        except Rejected as rejected:
            self._seen.remember_refusal(rejected)
            raise
        decode_s = time.monotonic() - fetched_s
        self._decoded.observe(decode_s)
        return pixels, fetch_s, decode_s

    def _holds(self, before: Classified) -> bool:
        """Whether the model would still say the same of the same bytes."""
        return before.prediction.head is self._batcher.head

    async def _judge(self, pixels: Pixels, fetch_s: float, decode_s: float, progress: Progress) -> Classified:
        progress.stage = Stage.CLASSIFY
        # All frames join before anything is awaited. Where one fails, gather sees to the others' ends.
        predictions = await asyncio.gather(*map(self._batcher.join, pixels.array))
        prediction, decision = self._decide(pixels, predictions)
        self._classified.observe(prediction.wait_s + prediction.compute_s)
        classified = Classified(pixels, prediction, decision, fetch_s, decode_s)
        self._seen.remember(pixels.sha256, lambda: _without_work(classified))
        return classified

    def _decide(self, pixels: Pixels, predictions: Sequence[Prediction]) -> tuple[Prediction, Decision]:
        """What the frame that decides was given, and the decision."""
        decisions = []
        for prediction in predictions:
            self._policy = self._policy.of(prediction.head.labels)
            decisions.append(self._policy.decide(prediction.scores))
        index = self._policy.gravest(decisions)
        return predictions[index], replace(decisions[index], frame=pixels.frames[index])


def _without_work(classified: Classified) -> Classified:
    """What is kept for the same bytes: the result, no pixels, and no work, since none will be done."""
    return replace(
        classified,
        pixels=replace(classified.pixels, array=classified.pixels.array[:0].copy()),
        prediction=replace(classified.prediction, batch_size=0, flush_reason="seen", wait_s=0.0, compute_s=0.0),
        fetch_s=0.0,
        decode_s=0.0,
    )
