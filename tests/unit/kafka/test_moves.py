"""What moving a group's offset keeps of what is done, and how it is counted; see tests/broker/test_offsets.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.kafka.moves import PartitionStanding, effect_of, movable, moved
from worker.kafka.offsets import Extent
from worker.kafka.progress import Progress, parse

AHEAD = Progress(2).after([(4, 6), (8, 15)])
"""Of 20 records, after a worker with `kafka.order` at `none`."""
ALL = Extent(0, 20, 20)


@pytest.mark.parametrize(
    ("low", "to", "base", "done", "effect"),
    [
        (0, 2, 2, ((4, 6), (8, 15)), "nothing"),
        (0, 3, 3, ((4, 6), (8, 15)), "skips 1"),
        (0, 4, 6, ((8, 15),), "skips 2"),
        (0, 5, 6, ((8, 15),), "skips 2"),
        (5, 5, 6, ((8, 15),), "nothing"),
        (0, 7, 7, ((8, 15),), "skips 3"),
        (7, 7, 7, ((8, 15),), "nothing"),
        (0, 8, 15, (), "skips 4"),
        (8, 8, 15, (), "nothing"),
        (0, 20, 20, (), "skips 9"),
        (0, 1, 1, (), "repeats 10"),
        (0, 0, 0, (), "repeats 11"),
    ],
)
def test_what_is_done_ahead_is_kept_but_for_a_move_back(
    low: int, to: int, base: int, done: tuple[tuple[int, int], ...], effect: str
) -> None:
    move = moved(AHEAD, to, Extent(low, 20, 20), None)
    assert parse(move.position.offset, move.position.metadata) == Progress(base, done)
    assert (move.before, move.effect) == (2, effect)


def test_a_group_that_has_done_nothing_yet_skips_the_very_first_offsets_too() -> None:
    move = moved(Progress(0), 2, ALL, None)
    assert (move.position.offset, move.effect) == (2, "skips 2")


@given(
    low=st.integers(0, 40),
    count=st.integers(0, 40),
    base=st.integers(0, 90),
    done=st.sets(st.integers(0, 100), max_size=40),
    places=st.data(),
)
def test_a_move_on_adds_to_what_is_done_and_a_move_back_takes_from_it_and_each_is_counted_once(
    low: int, count: int, base: int, done: set[int], places: st.DataObject
) -> None:
    extent, there = Extent(low, low + count, low + count), set(range(low, low + count))
    before = Progress(base).after((offset, offset + 1) for offset in done)
    to = places.draw(st.integers(low, low + count))
    move = moved(before, to, extent, None)
    was = {offset for offset in there if offset in before}
    passed = {offset for offset in there if offset < to}
    wanted = passed | was if to >= before.base else passed
    assert {offset for offset in range(150) if offset in move.after} == wanted | set(range(low))
    assert move.skipped == len(wanted) - len(was)


def test_a_group_that_has_committed_nothing_begins_there() -> None:
    move = moved(None, 5, ALL, "id")
    assert (move.before, move.after, move.skipped) == (None, Progress(5, topic_id="id"), 0)
    assert move.effect == "begins here, leaves out 5"
    assert moved(None, 5, Extent(5, 20, 20), "id").effect == "begins here"


def test_a_group_at_the_very_beginning_has_begun() -> None:
    assert moved(Progress(0), 1, ALL, None).effect == "skips 1"
    assert moved(Progress(1), 0, ALL, None).effect == "repeats 1"


def test_what_was_done_past_the_end_of_a_log_that_was_truncated_is_not_done() -> None:
    before = Progress(2, ((8, 15), (18, 22), (25, 30)))
    assert moved(before, 3, Extent(0, 20, 20), None).after == Progress(3, ((8, 15), (18, 20)))
    assert moved(before, 3, Extent(0, 25, 25), None).after == Progress(3, ((8, 15), (18, 22)))


def test_a_replay_keeps_its_end_and_its_question_and_the_topics_id_is_that_of_now() -> None:
    before = Progress(5, ((7, 9),), until=10, asked="f00d", topic_id=None)
    assert moved(before, 6, ALL, "id").after == Progress(6, ((7, 9),), 10, "f00d", "id")
    assert moved(before, 4, ALL, "id").after == Progress(4, (), 10, "f00d", "id")


@pytest.mark.parametrize(
    ("base", "to", "low", "after", "effect"),
    [
        (5, 20, 0, 10, "skips 5"),
        (5, 10, 0, 10, "skips 5"),
        (5, 7, 0, 7, "skips 2"),
        (10, 2, 0, 2, "repeats 8"),
        (15, 2, 0, 2, "repeats 8"),
        (5, 15, 15, 10, "nothing"),
        (8, 20, 9, 10, "skips 1"),
    ],
)
def test_what_is_past_the_end_of_a_replays_window_is_none_of_its_own(
    base: int, to: int, low: int, after: int, effect: str
) -> None:
    move = moved(Progress(base, until=10, asked="f00d"), to, Extent(low, 20, 20), None)
    assert (move.after, move.effect) == (Progress(after, until=10, asked="f00d"), effect)


def test_an_id_that_is_known_is_kept_where_the_cluster_gives_none() -> None:
    assert moved(Progress(5, topic_id="id"), 6, ALL, None).after.topic_id == "id"


def test_what_comes_of_several_is_added_up_by_its_kind() -> None:
    several = [moved(AHEAD, to, ALL, None) for to in (0, 1, 3, 20)]
    assert effect_of(several) == "skips 10, repeats 21"
    assert effect_of([*several, moved(None, 5, ALL, None)]) == "skips 10, repeats 21, leaves out 5"
    assert effect_of([moved(None, 0, ALL, None)]) == "nothing"


def test_of_a_replays_group_only_what_it_has_is_moved_and_of_any_other_all() -> None:
    own, outlived = Progress(3, until=9, topic_id="id"), Progress(3, until=9, topic_id="former")
    assert movable([0, 1], {}, "id") == [0, 1]
    assert movable([0, 1, 2], {1: Progress(3), 2: Progress(4, topic_id="former")}, "id") == [0, 1, 2]
    assert movable([0, 1, 2, 3], {1: own, 2: outlived, 3: Progress(4)}, "id") == [1]
    assert movable([0, 3], {1: own, 3: Progress(4)}, "id") == [], "the group's others say whose it is"


def standing(committed: Progress | None, low: int = 0, *, outlived: bool = False) -> PartitionStanding:
    return PartitionStanding(Extent(low, 19, 20), committed, None, outlived)


@pytest.mark.parametrize(
    ("committed", "low", "gone", "lag"),
    [
        (AHEAD, 0, 0, 18),
        (AHEAD, 2, 0, 18),
        (AHEAD, 3, 1, 17),
        (AHEAD, 6, 2, 14),
        (AHEAD, 7, 3, 13),
        (AHEAD, 20, 9, 0),
        (Progress(2, until=5), 4, 2, 1),
        (Progress(2, until=5), 9, 3, 0),
        (Progress(6, until=5), 9, 0, 0),
        (None, 9, 0, None),
    ],
)
def test_what_was_deleted_before_it_was_done_and_what_is_left(
    committed: Progress | None, low: int, gone: int, lag: int | None
) -> None:
    shown = standing(committed, low)
    assert (shown.gone, shown.lag) == (gone, lag)


def test_what_was_committed_for_a_topic_that_was_deleted_says_nothing() -> None:
    shown = standing(Progress(25, ((30, 35),)), 9, outlived=True)
    assert (shown.gone, shown.lag, shown.is_beyond) == (0, None, False)


def test_a_group_past_the_end_of_the_log_is_known() -> None:
    assert standing(Progress(21)).is_beyond
    assert not standing(Progress(20)).is_beyond
    assert not standing(None).is_beyond
