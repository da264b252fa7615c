"""What there is to do in a replay: where it begins and ends, or how far it is already. Joins and commits nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from worker.errors import ConfigurationError
from worker.kafka.bounds import Bounds
from worker.kafka.groups import GroupLook
from worker.kafka.moves import gone
from worker.kafka.offsets import Extent, TopicOffsets
from worker.kafka.patience import UNATTENDED_S
from worker.kafka.points import Point
from worker.kafka.progress import Progress, Span
from worker.kafka.standing import Standing, length
from worker.kafka.topic_id import OF_A_REPLAY, require_same
from worker.kafka.window import Window
from worker.replay.request import Request
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """A replay, ready to be worked on."""

    id: str
    settings: Settings
    """Of the replay; see derive.py."""
    spans: Mapping[int, Span]
    """By partition: what is left to do."""
    begun: frozenset[int]
    """The partitions whose bounds are fixed, by an earlier process or another one."""
    asked: str
    rate: float | None
    cut: tuple[int, ...] = ()
    """Partitions that begin with the first record there is, though older ones of the time asked for may be gone."""
    numbers: tuple[int, ...] = ()
    """All partitions of the topic."""
    gone: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """By partition, where retention overtook it: offsets that were deleted before they were done, and the first that
    is there. A worker stops there."""
    beyond: tuple[tuple[str, int], ...] = ()
    """What was asked for that is an offset beyond the end, and in how many partitions."""
    ahead: int = 0
    """Offsets in the spans that are done already (`kafka.order` at `none`)."""

    @property
    def offsets(self) -> int:
        """What is left in all partitions; each offset holds one record at most."""
        return sum(map(length, self.spans.values())) - self.ahead

    @property
    def empty(self) -> bool:
        """Whether there was never anything to do."""
        return not self.begun and not self.offsets

    @property
    def complete(self) -> bool:
        """Whether it was done before."""
        return self.begun == self.spans.keys() and not self.offsets

    def window(self) -> Window:
        kafka = self.settings.kafka
        bounds = Bounds(self.spans, self.asked)
        look = GroupLook(kafka, kafka.group_id)
        standing = Standing(look, kafka.topics.input, self.spans, bounds, self.numbers, ahead=self.ahead)
        return Window(bounds, standing, rate=self.rate)


def plan(settings: Settings, request: Request, identity: str, asked: str, look: TopicOffsets) -> Plan:
    """The plan with the settings of the replay.

    Raises ConfigurationError where its records are gone, or the id is another's.

    `asked`: `Request.asked`.
    """
    group = GroupLook(settings.kafka, settings.kafka.group_id, UNATTENDED_S)
    # Says which right is missing, where the question for the offsets would run out of time.
    group.membership()
    known = _known(look, group, asked)
    extents = look.extents()
    new = {number: extents[number] for number in look.numbers if number not in known}
    fresh, cut = _spans(look, new, extents, *request.points) if new else ({}, ())
    overtaken = {n: (count, extents[n].low) for n, each in known.items() if (count := gone(each, extents[n]))}
    begun = {number: (progress.base, progress.until or 0) for number, progress in known.items()}
    return Plan(
        identity,
        settings,
        dict(sorted((fresh | begun).items())),
        frozenset(begun),
        asked,
        request.rate,
        cut,
        look.all_numbers,
        overtaken,
        tuple(_beyond(request, new)),
        sum(length(begun[n]) - progress.left_before(begun[n][1]) for n, progress in known.items()),
    )


def _known(look: TopicOffsets, group: GroupLook, asked: str) -> dict[int, Progress]:
    """How far the partitions are that were begun before.

    Raises ConfigurationError where that was not this replay, be it in a partition that is not asked for: members are
    given any.
    """
    bounds, topic_id = Bounds({}, asked), look.topic_id()
    known = {n: bounds.known(position) for n, position in group.committed(look.topic, look.all_numbers).items()}
    for number, progress in known.items():
        require_same(look.topic, number, progress, topic_id, OF_A_REPLAY)
    return {number: known[number] for number in look.numbers if number in known}


def _spans(
    look: TopicOffsets, new: Mapping[int, Extent], extents: Mapping[int, Extent], first: Point, last: Point
) -> tuple[dict[int, Span], tuple[int, ...]]:
    """Where the points are in the partitions that nobody has begun, and which of those are cut; see Plan.

    What is written but not committed yet is before `now`: it is waited for.

    An end beyond what there is now would never come for sure, so what there is now is the end.
    """
    highs = {number: extent.high for number, extent in extents.items()}
    starts, ends = look.at(first, highs, extents), look.at(last, highs, extents)
    _check_all_is_there(look.topic, first, new)
    spans = {number: _span(starts[number], ends[number], extent) for number, extent in new.items()}
    by_time = first.time_ms is not None
    return spans, tuple(n for n, (start, _) in spans.items() if by_time and start == extents[n].low > 0)


def _span(start: int, end: int, extent: Extent) -> Span:
    end = max(extent.low, min(end, extent.high))
    return (min(start, end), end)


def _beyond(request: Request, extents: Mapping[int, Extent]) -> Iterator[tuple[str, int]]:
    """The offsets asked for that are beyond the end of partitions, of how many: a time may have been meant."""
    words = (f"--from {request.start}", f"--to {request.end}")
    for word, point in zip(words, request.points, strict=True):
        if count := sum(point.offset is not None and point.offset > each.high for each in extents.values()):
            yield word, count


def _check_all_is_there(topic: str, first: Point, extents: Mapping[int, Extent]) -> None:
    """ConfigurationError where the start is an offset that is gone: who names one is not given less without a word."""
    offset = first.offset
    gone = [number for number, extent in extents.items() if offset is not None and offset < extent.low]
    if gone:
        low = extents[gone[0]].low
        more = f", and some in {len(gone) - 1} more partitions" if len(gone) > 1 else ""
        raise ConfigurationError(
            f"{topic}[{gone[0]}]: the offsets {offset} to {low - 1} are gone, deleted by retention{more}: write "
            "--from beginning for what is still there, or a later offset"
        )
