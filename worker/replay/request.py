"""What is asked of a replay, and which replay that is."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from math import isfinite

from worker.errors import ConfigurationError
from worker.kafka.points import Point, parse_point
from worker.settings import Settings

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
        if self.rate is not None and not isfinite(self.rate):
            raise ConfigurationError(f"--rate {self.rate}: write a number of records a second")
        first, last = self.points
        if first.end and last == Point():
            raise ConfigurationError(f"--from {self.start} is after --to {self.end}")
        for one, other in ((first.offset, last.offset), (first.time_ms, last.time_ms)):
            if one is not None and other is not None and one > other:
                raise ConfigurationError(f"--from {self.start} is after --to {self.end}")

    @property
    def points(self) -> tuple[Point, Point]:
        return parse_point("--from", self.start, end="now"), parse_point("--to", self.end, end="now")

    def asked(self, live: Settings, fingerprint: str) -> str:
        """12 hex digits over window, model, policy and outputs: the same for every process that shares the replay.

        `live`: the settings of the live worker. `fingerprint`: the model's.
        """
        topics = live.kafka.topics
        outputs = (self.output is None, self.output or topics.results)
        letters = (self.dead_letters is None, self.dead_letters or topics.dead_letters)
        window = (topics.input, self.points, sorted(set(self.partitions)))
        policy = json.dumps(live.policy.model_dump(mode="json"), sort_keys=True)
        return _digest(window, fingerprint, outputs, letters, policy)

    def identity(self, live: Settings, fingerprint: str) -> str:
        """The id that was given, or one of what is asked: so the same command line goes on, and another starts anew."""
        return self.id or self.asked(live, fingerprint)


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
