"""PURE: when a batch leaves and why, and how a failed one is taken apart.

No clock, no thread, no model: the time and the state are passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Flush(StrEnum):
    """Why a batch left for the model."""

    SIZE = "size"
    """It was full."""
    AGE = "age"
    """Its oldest image had waited for as long as an image may."""
    IDLE = "idle"
    """The model had nothing to do, and no more images were on their way that were worth waiting for."""
    DRAIN = "drain"
    """No more images come: the worker stops."""


@dataclass(frozen=True, slots=True)
class Gathering:
    """The batch that is being gathered, and what stands around it."""

    count: int
    """Images that have joined."""
    oldest_s: float
    """When the oldest of them joined, by a monotonic clock."""
    expected_until_s: float
    """Until when an image that has not joined yet is worth waiting for; -inf where none is on its way."""
    model_idle: bool
    """Whether the model has nothing to do and nothing to do next."""
    draining: bool


@dataclass(frozen=True, slots=True)
class FlushRule:
    """A batch leaves at a size, at an age, or as soon as waiting longer could gain nothing."""

    max_size: int
    max_age_s: float

    def reason(self, batch: Gathering, now_s: float) -> Flush | None:
        """Why the batch is to leave now; None while it waits. An empty batch never leaves."""
        if batch.count == 0:
            return None
        if batch.count >= self.max_size:
            return Flush.SIZE
        if batch.draining:
            return Flush.DRAIN
        if now_s >= batch.oldest_s + self.max_age_s:
            return Flush.AGE
        if batch.model_idle and now_s >= batch.expected_until_s:
            return Flush.IDLE
        return None

    def due_s(self, batch: Gathering) -> float:
        """When the batch leaves though nothing else happens."""
        aged_s = batch.oldest_s + self.max_age_s
        return min(aged_s, batch.expected_until_s) if batch.model_idle else aged_s


def buckets(max_size: int) -> tuple[int, ...]:
    """The sizes of batch that a compiled model is compiled for: powers of two, and the largest."""
    powers = (2**power for power in range(max_size.bit_length()))
    return tuple(sorted({*(size for size in powers if size <= max_size), max_size}))


def bucket_of(count: int, sizes: tuple[int, ...]) -> int:
    """The smallest of the sizes that `count` images fit; `count` itself where none is large enough."""
    return next((size for size in sizes if size >= count), count)


@dataclass(frozen=True, slots=True)
class Span:
    """The images `start` to `stop` (not included) of a batch."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def cut(self, at: int) -> tuple[Span, Span]:
        """The first `at` images, and the others."""
        return Span(self.start, self.start + at), Span(self.start + at, self.stop)


class Ceiling:
    """The largest batch that is tried: falls when one does not fit the device, and rises again carefully.

    What took the memory may be gone later. So after `PATIENCE` batches that were as large as allowed it rises by an
    eighth; where that fails it is taken back. With each fall the patience doubles: of all batches ever fewer fail.
    """

    PATIENCE = 64
    _LONGEST_PATIENCE = 64 * PATIENCE

    def __init__(self, max_size: int) -> None:
        self.size = max_size
        self._max_size = max_size
        self._before_rise: int | None = None
        self._patience = self.PATIENCE
        self._held = 0

    def fell(self, size: int) -> None:
        """Takes that a batch of `size` did not fit."""
        risen = self._before_rise is not None and size == self.size
        self.size = self._before_rise if risen and self._before_rise else max(1, size // 2)
        self._before_rise = None
        self._patience = min(2 * self._patience, self._LONGEST_PATIENCE)
        self._held = 0

    def fitted(self, size: int) -> None:
        """Takes that a batch of `size` did fit."""
        if size < self.size or self.size == self._max_size:
            return
        self._held += 1
        if self._held >= self._patience:
            self._before_rise = self.size
            self.size = min(self._max_size, self.size + max(1, self.size // 8))
            self._held = 0


class Bisection:
    """What of a batch is still to be run: at first all of it, after a failure the halves of what failed.

    Every image ends in a span that succeeded, or alone in one that failed. Finding `k` failing images of `n` takes at
    most `2 k (log2 n + 1) + 1` runs.
    """

    def __init__(self, count: int) -> None:
        self._left = [Span(0, count)] if count else []

    def next(self, ceiling: int) -> Span | None:
        """The next images to run, at most `ceiling` of them, in the batch's order. None when all are done."""
        if not self._left:
            return None
        span = self._left.pop()
        if len(span) > ceiling:
            span, rest = span.cut(ceiling)
            self._left.append(rest)
        return span

    def failed(self, span: Span) -> bool:
        """Takes a span that failed. True: its halves come next. False: it was one image, and that is the one."""
        if len(span) == 1:
            return False
        first, second = span.cut(len(span) // 2)
        self._left += [second, first]
        return True
