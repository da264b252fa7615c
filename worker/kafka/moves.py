"""A group moved to another point of the topic: what that skips and what it repeats. Refused while it has members.

The offsets of a group belong to its members while there are any: a broker refuses ours then, and a member would commit
its own on top of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from worker.errors import ConfigurationError, Fatal
from worker.kafka.groups import GroupLook, Membership
from worker.kafka.ledger import Position
from worker.kafka.offsets import Extent, TopicOffsets
from worker.kafka.points import Point
from worker.kafka.progress import Progress, parse


@dataclass(frozen=True, slots=True)
class PartitionStanding:
    """Where a group is in one partition."""

    extent: Extent
    committed: Progress | None
    """None where the group has committed nothing."""
    member: str | None
    """Who has the partition."""
    outlived: bool
    """Whether it was committed for a topic of this name that was deleted: then it says nothing of this one."""

    @property
    def lag(self) -> int | None:
        """Offsets after the committed one that are still there; each holds one record at most."""
        if self.committed is None or self.outlived:
            return None
        end = self.extent.high if self.committed.until is None else self.committed.until
        return max(0, end - max(self.committed.base, self.extent.low))

    @property
    def is_beyond(self) -> bool:
        """Whether the group is past the end: the log was truncated, or is another one."""
        return self.committed is not None and not self.outlived and self.committed.base > self.extent.high

    @property
    def gone(self) -> int:
        """Offsets that were deleted before they were done: a worker that is started stops there."""
        return 0 if self.committed is None or self.outlived else gone(self.committed, self.extent)


@dataclass(frozen=True, slots=True)
class Move:
    """A partition's committed offset before and after."""

    before: int | None
    """None where the group has committed nothing, or for a topic of this name that was deleted."""
    after: Progress
    """A replay's end, and what it was asked for, stay. So does what is done ahead, but for a move back."""
    skipped: int = 0
    """Offsets that the group will not do; each holds one record at most. Negative: so many it will do again."""
    left_out: int = 0
    """Where nothing was committed: the offsets that are there before this one."""

    @property
    def position(self) -> Position:
        """What is committed."""
        return Position(self.after.base, metadata=self.after.metadata)

    @property
    def effect(self) -> str:
        """What comes of it, in words."""
        if self.before is not None:
            return effect_of([self])
        return f"begins here, leaves out {self.left_out}" if self.left_out else "begins here"


def effect_of(moves: Collection[Move]) -> str:
    """What comes of all of them, in words."""
    skipped = [move.skipped for move in moves]
    skips, repeats = sum(each for each in skipped if each > 0), -sum(each for each in skipped if each < 0)
    left_out = sum(move.left_out for move in moves)
    words = ((f"skips {skips}", skips), (f"repeats {repeats}", repeats), (f"leaves out {left_out}", left_out))
    return ", ".join(word for word, count in words if count) or "nothing"


def gone(progress: Progress, extent: Extent) -> int:
    """Offsets that were deleted before they were done; of a replay, before its end."""
    return progress.left_before(extent.low if progress.until is None else min(extent.low, progress.until))


def standings(look: TopicOffsets, group: GroupLook, membership: Membership) -> dict[int, PartitionStanding]:
    """Where a group is in each partition."""
    extents, topic_id = look.extents(), look.topic_id()
    committed = {n: _progress(position) for n, position in group.committed(look.topic, look.numbers).items()}
    owners = {partition: str(member) for member in membership.members for partition in member.partitions}
    outlived = {n for n, progress in committed.items() if not progress.may_be_of(topic_id)}
    return {
        n: PartitionStanding(extents[n], committed.get(n), owners.get((look.topic, n)), n in outlived)
        for n in look.numbers
    }


def _progress(position: Position) -> Progress:
    try:
        return parse(position.offset, position.metadata)
    except ValueError as error:
        raise Fatal(f"what the group has committed cannot be read: {error}") from error


def moves(look: TopicOffsets, group: GroupLook, point: Point, option: str) -> dict[int, Move]:
    """What moving the group there would do, in the partitions that can be moved; see `movable`.

    The end is that for readers of committed transactions: what is open now may still be committed, and is not skipped.

    Raises ConfigurationError where the point is not in the topic or a time that is yet to come, or where a partition
    that was named cannot be moved.
    """
    _check_time(point, option)
    topic_id, committed = look.topic_id(), group.committed(look.topic, look.all_numbers)
    before = {n: _before(position) for n, position in committed.items()}
    numbers = movable(look.numbers, before, topic_id)
    _check_movable(look, group, numbers)
    extents = look.extents()
    targets = look.at(point, {number: extent.stable for number, extent in extents.items()}, extents)
    _check_range(look.topic, {n: targets[n] for n in numbers}, extents, option)
    counted = {n: progress for n, progress in before.items() if progress.may_be_of(topic_id)}
    return {n: moved(counted.get(n), targets[n], extents[n], topic_id) for n in numbers}


def movable(numbers: Iterable[int], committed: Mapping[int, Progress], topic_id: str | None) -> list[int]:
    """Of some partitions, those whose commit keeps all that it must. PURE. Of a replay's group: those that it has.

    A commit in another one, which has no end of the window, would end the replay for good; see `Bounds.check`.

    `committed`: in all partitions.
    """
    if all(progress.until is None for progress in committed.values()):
        return list(numbers)
    own = {n for n, each in committed.items() if each.until is not None and each.may_be_of(topic_id)}
    return [n for n in numbers if n in own]


def _check_movable(look: TopicOffsets, group: GroupLook, numbers: Collection[int]) -> None:
    left_out = [str(n) for n in look.numbers if n not in numbers]
    if left_out and (look.named or not numbers):
        raise ConfigurationError(
            f"--partitions {','.join(left_out)}: group {group.group} is that of a replay, which has no window there, "
            "and would not go on after a commit without one: name others, or start the replay with another --id"
        )


def moved(before: Progress | None, to: int, extent: Extent, topic_id: str | None) -> Move:
    """A partition moved. PURE. What is done ahead stays done, and is done again after a move back only.

    `before`: what counts in the topic of this id.
    """
    if before is None:
        return Move(None, Progress(to, topic_id=topic_id), left_out=to - extent.low)
    if before.until is not None:
        # What is past the end of a replay's window is none of it.
        to, extent = min(to, before.until), extent.before(before.until)
    here = replace(_within(before, extent), topic_id=topic_id or before.topic_id)
    if to < before.base:
        return Move(before.base, replace(here, base=to, done=()), to - here.base - here.ahead)
    return Move(before.base, here.after([(0, to)]), here.left_before(to))


def _within(progress: Progress, extent: Extent) -> Progress:
    """What is done of the offsets that the partition has. Those before are not to be done; those after are of a log
    that was truncated, and others will come there.
    """
    done = tuple((start, min(end, extent.high)) for start, end in progress.done if start < extent.high)
    return replace(progress, base=min(progress.base, extent.high), done=done).after([(0, extent.low)])


def require_idle(group: GroupLook, own: str) -> None:
    """Fatal where the group has members, or there is none of this name; `own`, the settings' group, may be new."""
    membership = group.membership()
    if membership.members:
        who = ", ".join(sorted({str(member) for member in membership.members}))
        raise Fatal(
            f"group {group.group} is at work ({membership}: {who}): stop its workers first; one that was killed, "
            "or has a kafka.group_instance_id, is a member until its session ends"
        )
    if not membership.exists and group.group != own:
        raise Fatal(f"there is no group {group.group}: see kafka.group_id of the workers that you mean")


def _check_time(point: Point, option: str) -> None:
    """A time that is yet to come is the end by now: most often it was meant in another zone."""
    if point.is_yet_to_come:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        raise ConfigurationError(
            f"{option} {point.utc}: that is yet to come, it is {now} now: write end, or a time that has been, with its "
            "zone where that is not UTC"
        )


def _check_range(topic: str, targets: Mapping[int, int], extents: Mapping[int, Extent], option: str) -> None:
    for number, offset in targets.items():
        extent = extents[number]
        if not extent.low <= offset <= extent.high:
            raise ConfigurationError(
                f"{option} {offset}: {topic}[{number}] has the offsets {extent.low} to {extent.high}: write one of "
                "these, and name the partitions that have it in --partitions; a time is written 2026-01-31T00:00:00Z"
            )


def _before(position: Position) -> Progress:
    """What was committed. What cannot be read is moved away from all the same."""
    try:
        return parse(position.offset, position.metadata)
    except ValueError:
        return Progress(position.offset)
