"""Images without Kafka: what a command line names, taken through the same chain as the worker's records."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

import structlog

from worker.chain import Classified
from worker.errors import Fatal, Reason, Rejected, Stage, Transient
from worker.images.budget import ByteBudget
from worker.images.settings import ImagesSettings
from worker.kafka.classification import best, shown
from worker.opening import OpenChain
from worker.printable import printable
from worker.records import Decision, ImageReference
from worker.sources import STDIN, is_address

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of one image: either it was classified, or rejected."""

    source: str
    classified: Classified | None = None
    rejected: Rejected | None = None
    unscannable: Decision | None = None
    """The policy's decision on an image that was rejected because it cannot be decoded, where it has one."""

    @property
    def decision(self) -> Decision | None:
        """What the policy decided, if anything."""
        return self.classified.decision if self.classified is not None else self.unscannable

    def as_json(self, top_k: int) -> dict[str, Any]:
        """The fields of `classify --json`; None where one does not apply."""
        row: dict[str, Any] = dict.fromkeys(_FIELDS)
        if self.classified is not None:
            seen = self.classified
            row |= {"label": seen.decision.label, "score": seen.decision.score, "sha256": seen.pixels.sha256}
            row |= {"width": seen.pixels.width, "height": seen.pixels.height, "format": seen.pixels.format}
            row |= {"frames": seen.pixels.frame_count, "frame": seen.decision.frame}
            row |= {"scores": best(seen.prediction.head.labels, seen.prediction.scores, top_k)}
        if self.rejected is not None:
            row |= {"reason": str(self.rejected.reason), "detail": self.rejected.detail, "sha256": self.rejected.sha256}
        row |= {"action": self.decision.action if self.decision else None}
        return row | {"source": self.source, "status": "classified" if self.classified else "rejected"}

    def as_line(self, width: int) -> str:
        """One line for people, the source padded to `width`."""
        source = printable(shown(self.source) or "").ljust(width)
        if self.classified is not None:
            decision = self.classified.decision
            return f"{source}  {decision.label}  {decision.score:.3f}  {decision.action}"
        assert self.rejected is not None
        action = f"  {self.unscannable.action}" if self.unscannable is not None else ""
        return f"{source}  rejected  {self.rejected.reason}: {printable(self.rejected.detail)}{action}"


_FIELDS = (
    "source",
    "status",
    "label",
    "score",
    "action",
    "scores",
    "reason",
    "detail",
    "sha256",
    "width",
    "height",
    "format",
    "frames",
    "frame",
)


@dataclass(slots=True)
class _Progress:
    stage: Stage = Stage.FETCH


class LocalImages:
    """Takes images through an open chain. Owned by the event loop."""

    def __init__(self, room: OpenChain, settings: ImagesSettings, at_once: int) -> None:
        self._chain = room.chain
        self._policy = room.policy
        self._max_bytes = settings.max_bytes
        self._budget = ByteBudget(settings.max_bytes_in_flight)
        self._at_once = at_once

    async def verdicts(self, sources: Iterable[str]) -> AsyncIterator[Verdict]:
        """A verdict for each source, in their order, with the work on several done at once. Raises Fatal."""
        under_way: deque[asyncio.Task[Verdict]] = deque()
        try:
            for source in sources:
                under_way.append(asyncio.create_task(self.verdict(source)))
                if len(under_way) >= self._at_once:
                    yield await under_way.popleft()
            while under_way:
                yield await under_way.popleft()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def verdict(self, source: str) -> Verdict:
        """Take one image all the way. Raises Fatal; everything else is the image's own verdict."""
        try:
            return Verdict(source, classified=await self._classify(source))
        except Rejected as rejected:
            undecodable = rejected.reason.stage is Stage.DECODE
            return Verdict(source, rejected=rejected, unscannable=self._policy.unscannable if undecodable else None)
        except Transient as outage:
            # No record waits behind this image, so the outage is its answer.
            return Verdict(source, rejected=Rejected(Reason.CONNECTION_FAILED, str(outage)))
        except Fatal:
            raise
        except Exception as fault:
            log.exception("classify.internal_error", source=source)
            return Verdict(source, rejected=Rejected(Reason.INTERNAL_ERROR, repr(fault)))

    async def _classify(self, source: str) -> Classified:
        if source != STDIN and is_address(source):
            return await self._chain.classify(ImageReference(address=source), _Progress())
        await self._budget.take(self._max_bytes)
        held = self._max_bytes
        try:
            image = await asyncio.to_thread(_read, source, self._max_bytes)
            self._budget.give_back(max(0, held - len(image)))
            held = min(held, len(image))
            return await self._chain.classify(ImageReference(image=image), _Progress())
        finally:
            self._budget.give_back(held)


def _read(source: str, limit: int) -> bytes:
    """The bytes of the operator's own file or stdin, and one more than the limit at most. Raises Rejected."""
    if source == STDIN:
        return _read_all(sys.stdin.buffer, limit + 1)
    try:
        with open(source, "rb") as file:
            return file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Rejected(Reason.NOT_FOUND, f"the file cannot be read: {reason}") from None


def _read_all(stream: BinaryIO, limit: int) -> bytes:
    try:
        return stream.read(limit)
    except OSError as error:
        raise Rejected(Reason.NOT_FOUND, f"standard input cannot be read: {error.strerror}") from None
