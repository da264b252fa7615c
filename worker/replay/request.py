"""What is asked of a replay, and which replay that is."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from worker.errors import ConfigurationError
from worker.kafka.points import Point, parse_point

_ID = re.compile(r"[a-zA-Z0-9._-]{1,80}")


@dataclass(frozen=True, slots=True)
class Request:
    """A replay as a command line names it. Raises ConfigurationError where it makes no sense."""

    start: str
    end: str
    partitions: tuple[int, ...] = ()
    """All of them where none is named."""
    id: str | None = None
    output: str | None = None
    dead_letters: str | None = None
    rate: float | None = None
    """Records a second that one process takes in at most."""

    def __post_init__(self) -> None:
        if self.id is not None and not _ID.fullmatch(self.id):
            raise ConfigurationError(f"--id {self.id}: write up to 80 letters, digits, dots, dashes and underscores")
        first, last = self.points
        if first.end and last == Point():
            raise ConfigurationError(f"--from {self.start} is after --to {self.end}")
        for one, other in ((first.offset, last.offset), (first.time_ms, last.time_ms)):
            if one is not None and other is not None and one > other:
                raise ConfigurationError(f"--from {self.start} is after --to {self.end}")

    @property
    def points(self) -> tuple[Point, Point]:
        return parse_point("--from", self.start, end="now"), parse_point("--to", self.end, end="now")

    def asked(self, topic: str, fingerprint: str) -> str:
        """12 hex digits over window, model and outputs: the same for every process that shares the replay."""
        window = _digest(topic, *self.points, sorted(set(self.partitions)))
        return _digest(window, fingerprint, self.output, self.dead_letters)

    def identity(self, topic: str, fingerprint: str) -> str:
        """The id that was given, or one of what is asked: so the same command line goes on, and another starts anew."""
        return self.id or self.asked(topic, fingerprint)


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
