"""Where a group stands and what moving it would do, from what a cluster says; see tests/broker/test_offsets.py.

The cluster is a fake here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from worker.errors import ConfigurationError, Fatal
from worker.kafka.groups import GroupMember, Membership
from worker.kafka.ledger import Position
from worker.kafka.moves import PartitionStanding, moves, require_idle, standings
from worker.kafka.offsets import Extent
from worker.kafka.points import Point
from worker.kafka.progress import Progress

OURS, FORMER = "o" * 22, "f" * 22
NOBODY = Membership("empty", ())
EXTENTS = {0: Extent(0, 18, 20), 1: Extent(5, 30, 30), 2: Extent(0, 9, 9)}


class Topic:
    """`images`, of three partitions, of which some may be named."""

    topic = "images"
    all_numbers = (0, 1, 2)

    def __init__(self, *named: int, topic_id: str | None = OURS) -> None:
        self.named = bool(named)
        self.numbers = named or self.all_numbers
        self._topic_id = topic_id

    def topic_id(self) -> str | None:
        return self._topic_id

    def extents(self) -> dict[int, Extent]:
        return {number: EXTENTS[number] for number in self.numbers}

    def at(self, point: Point, ends: Mapping[int, int], extents: Mapping[int, Extent]) -> dict[int, int]:
        assert extents == self.extents()
        if point.offset is not None:
            return dict.fromkeys(self.numbers, point.offset)
        return {number: ends[number] if point.end else extents[number].low for number in self.numbers}


def group(committed: Mapping[int, Progress | Position], membership: Membership = NOBODY) -> Any:
    positions = {
        number: Position(each.base, metadata=each.metadata) if isinstance(each, Progress) else each
        for number, each in committed.items()
    }

    def of(topic: str, numbers: Iterable[int]) -> dict[int, Position]:
        assert topic == "images"
        return {number: positions[number] for number in numbers if number in positions}

    return SimpleNamespace(group="classifiers", committed=of, membership=lambda: membership)


def stands(topic: Any, of: Any, membership: Membership = NOBODY) -> dict[int, PartitionStanding]:
    return standings(topic, of, membership)


def effects(topic: Any, of: Any, point: Point) -> dict[int, tuple[int | None, int, str]]:
    found = moves(topic, of, point, "--to")
    return {number: (move.before, move.position.offset, move.effect) for number, move in found.items()}


def test_where_a_group_stands_is_told_of_each_partition_with_who_has_it() -> None:
    owner = GroupMember("worker-1", "/10.0.0.1", frozenset({("images", 1), ("other", 0)}))
    committed = {0: Progress(12, topic_id=OURS), 1: Progress(3)}
    found = stands(Topic(), group(committed), Membership("stable", (owner,)))
    assert [each.extent for each in found.values()] == list(EXTENTS.values())
    assert [each.committed for each in found.values()] == [*committed.values(), None]
    assert [each.member for each in found.values()] == [None, "worker-1 on 10.0.0.1", None]
    assert [(each.lag, each.gone) for each in found.values()] == [(8, 0), (25, 2), (None, 0)]
    assert stands(Topic(1), group(committed)).keys() == {1}


def test_what_was_committed_for_a_topic_that_was_deleted_says_nothing_of_this_one() -> None:
    found = stands(Topic(), group({0: Progress(12, topic_id=FORMER), 1: Progress(3, topic_id=OURS)}))
    assert [each.outlived for each in found.values()] == [True, False, False]
    assert (found[0].lag, found[0].gone) == (None, 0)


def test_of_a_replay_the_lag_is_counted_to_its_end() -> None:
    found = stands(Topic(), group({0: Progress(12, until=15), 1: Progress(3, until=4)}))
    assert [found[number].lag for number in (0, 1)] == [3, 0]
    assert [found[number].gone for number in (0, 1)] == [0, 1], "what was deleted past its end is not its own"


def test_what_nobody_can_read_is_no_standing() -> None:
    with pytest.raises(Fatal, match="cannot be read"):
        stands(Topic(), group({0: Position(12, metadata="image-worker/1;done=!")}))


def test_a_move_to_an_end_stops_before_what_may_still_be_committed() -> None:
    committed = {0: Progress(12), 1: Progress(29)}
    assert effects(Topic(), group(committed), Point(end=True)) == {
        0: (12, 18, "skips 6"),
        1: (29, 30, "skips 1"),
        2: (None, 9, "begins here, leaves out 9"),
    }
    assert effects(Topic(1), group(committed), Point()) == {1: (29, 5, "repeats 24")}


def test_what_cannot_be_read_or_is_of_a_topic_that_was_deleted_is_moved_away_from() -> None:
    committed = {0: Position(12, metadata="image-worker/1;done=!"), 1: Progress(29, topic_id=FORMER)}
    found = effects(Topic(0, 1), group(committed), Point(offset=10))
    assert found == {0: (12, 10, "repeats 2"), 1: (None, 10, "begins here, leaves out 5")}


def test_a_move_names_the_topic_as_it_is() -> None:
    found = moves(Topic(0), group({0: Progress(12, topic_id=OURS)}), Point(offset=10), "--to")  # type: ignore[arg-type]
    assert found[0].after.topic_id == OURS


@pytest.mark.parametrize(("named", "offset"), [((1,), 4), ((1,), 31), ((0, 2), 10)])
def test_a_point_that_is_not_in_the_topic_is_refused_with_what_is(named: tuple[int, ...], offset: int) -> None:
    extent = EXTENTS[named[-1]]
    line = f"--to {offset}: images[{named[-1]}] has the offsets {extent.low} to {extent.high}"
    with pytest.raises(ConfigurationError, match=re.escape(line)):
        effects(Topic(*named), group({}), Point(offset=offset))


@pytest.mark.parametrize(("offset", "effect"), [(5, "begins here"), (30, "begins here, leaves out 25")])
def test_the_first_and_the_last_point_that_a_partition_has_are_taken(offset: int, effect: str) -> None:
    assert effects(Topic(1), group({}), Point(offset=offset)) == {1: (None, offset, effect)}


def test_a_time_that_is_yet_to_come_is_refused_with_the_time_that_it_is() -> None:
    now_ms = 1000 * int(time.time())
    with pytest.raises(ConfigurationError, match=r"yet to come, it is 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ now: write end"):
        effects(Topic(), group({}), Point(time_ms=now_ms + 3_600_000))
    effects(Topic(), group({}), Point(time_ms=now_ms))


def test_a_replay_is_moved_where_it_has_a_window_only() -> None:
    replay = group({1: Progress(7, until=20, topic_id=OURS), 2: Progress(1, until=3, topic_id=FORMER)})
    assert effects(Topic(), replay, Point()) == {1: (7, 5, "repeats 2")}
    with pytest.raises(ConfigurationError, match="--partitions 0,2: group classifiers is that of a replay"):
        effects(Topic(0, 1, 2), replay, Point())
    with pytest.raises(ConfigurationError, match="--partitions 0,1,2: group classifiers is that of a replay"):
        effects(Topic(topic_id=FORMER * 2), group({1: Progress(7, until=20, topic_id=OURS)}), Point())


def test_a_group_that_is_at_work_is_not_moved_and_its_members_are_named_once() -> None:
    two = [GroupMember(client, "/10.0.0.1", frozenset()) for client in ("b", "a", "b")]
    line = "group classifiers is at work (stable, 3 members: a on 10.0.0.1, b on 10.0.0.1): stop its workers first"
    with pytest.raises(Fatal, match=re.escape(line)):
        require_idle(group({}, Membership("stable", tuple(two))), "classifiers")


def test_a_group_that_is_not_there_is_moved_only_if_it_is_that_of_the_settings() -> None:
    require_idle(group({}, Membership("dead", ())), "classifiers")
    require_idle(group({}, NOBODY), "another")
    with pytest.raises(Fatal, match="there is no group classifiers"):
        require_idle(group({}, Membership("dead", ())), "another")
