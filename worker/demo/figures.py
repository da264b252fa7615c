"""What the outcomes of the demo add up to: values in, values out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.demo.cast import Role
from worker.demo.photographs import Photograph
from worker.kafka.outcomes import DeadLetter
from worker.watch import Seen

STAGES = ("fetch", "decode", "wait", "compute")


@dataclass(frozen=True, slots=True)
class Sight:
    """What one photograph was taken for, in each of its formats."""

    photograph: Photograph
    by_format: Mapping[str, dict[str, Any]]
    """The classification event by format."""

    @property
    def best(self) -> dict[str, Any]:
        """The event of the first format."""
        return next(iter(self.by_format.values()))

    @property
    def agreeing(self) -> int:
        """In how many formats the label is that of the first."""
        return sum(_label(event) == _label(self.best) for event in self.by_format.values())


@dataclass(frozen=True, slots=True)
class Refusal:
    """One thing that went wrong on purpose, and its dead letter."""

    title: str
    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds in a stage: of half of the images at most `p50`, of 99 in 100 at most `p99`."""

    stage: str
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a run."""

    images: int
    images_per_s: float
    """From the first event to the last classification."""
    times: Sequence[Times]
    batches: Mapping[int, int]
    """How many batches had each size."""


@dataclass(frozen=True, slots=True)
class Showing:
    """All that the demo showed."""

    sights: Sequence[Sight]
    refusals: Sequence[Refusal]
    figures: Figures
    model: Mapping[str, str]


def add_up(roles: Sequence[Role], seen: Sequence[Seen]) -> Showing:
    """The showing of these outcomes. Each role has exactly one."""
    by_key = {(each.record.key or b"").decode(): each for each in seen}
    events = {role.key: event for role in roles if (event := by_key[role.key].classification) is not None}
    letters = [Refusal(role.title, letter) for role in roles if (letter := by_key[role.key].dead_letter) is not None]
    first = next(iter(events.values()))
    return Showing(_sights(roles, events), letters, _figures(list(events.values())), first["model"])


def _sights(roles: Sequence[Role], events: Mapping[str, dict[str, Any]]) -> list[Sight]:
    found: dict[str, tuple[Photograph, dict[str, dict[str, Any]]]] = {}
    for role in roles:
        if role.photograph is not None and role.key in events:
            _, by_format = found.setdefault(role.photograph.name, (role.photograph, {}))
            by_format[events[role.key]["image"]["format"]] = events[role.key]
    return [Sight(photograph, by_format) for photograph, by_format in found.values()]


def _figures(events: Sequence[dict[str, Any]]) -> Figures:
    begun_ms = min(event["source"]["timestamp_ms"] for event in events)
    ended_ms = max(event["classified_at_ms"] for event in events)
    times = [_times(stage, [event["timing"][f"{stage}_ms"] for event in events]) for stage in STAGES]
    total = [event["classified_at_ms"] - event["source"]["timestamp_ms"] for event in events]
    images_of_size = Counter(event["timing"]["batch_size"] for event in events)
    return Figures(
        images=len(events),
        images_per_s=len(events) / max(0.001, (ended_ms - begun_ms) / 1000),
        times=[*times, _times("event to result", total)],
        batches={size: math.ceil(count / size) for size, count in sorted(images_of_size.items())},
    )


def _times(stage: str, milliseconds: Sequence[float]) -> Times:
    ordered = sorted(milliseconds)
    return Times(stage, ordered[_rank(len(ordered), 0.5)], ordered[_rank(len(ordered), 0.99)])


def _rank(count: int, share: float) -> int:
    """The index of the nearest rank."""
    return max(0, math.ceil(share * count) - 1)


def _label(event: dict[str, Any]) -> str:
    return str(event["decision"]["label"])
