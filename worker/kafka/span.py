"""The offsets that a replay goes through in one partition, and how a group's commits carry them. PURE."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` on, before `end`. The offsets between hold at most one record each."""

    start: int
    end: int

    @property
    def offsets(self) -> int:
        return max(0, self.end - self.start)


@dataclass(frozen=True, slots=True)
class Mark:
    """What every commit of a replay carries in its metadata, so that whoever owns the partition next knows it."""

    asked: str
    """Of which question the end is the answer: hex digits over topic, bounds and partitions."""
    until: int

    def encode(self) -> str:
        return f"{self.asked}:{self.until}"

    @staticmethod
    def decode(text: str | None) -> Mark | None:
        """None where the text is no mark: the commit is none of a replay."""
        asked, colon, until = (text or "").partition(":")
        return Mark(asked, int(until)) if colon and until.isdecimal() else None
