"""Where assigned partitions begin: each when its own start is known.

The coordinator is a fake, whose answers come when a test says so; with a real one tests/broker/test_heirs.py.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.typing import EventDict

from tests.broker.test_faults import wait_for
from tests.unit.kafka.starting import A, B, C, Room
from worker.errors import Fatal
from worker.kafka import starts as room
from worker.kafka.bounds import Bounds
from worker.kafka.ledger import Partition, Position
from worker.kafka.progress import Progress


def test_before_it_is_joined_the_group_is_asked_again_and_again_with_a_pause_until_it_answers(
    monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    starts, limits_s, paused_s = Room(start="latest").starts, list[float](), list[float]()
    answers = [
        KafkaException(KafkaError(KafkaError._TRANSPORT)),
        KafkaException(KafkaError(KafkaError._TIMED_OUT)),
        None,
    ]

    def look(timeout_s: float) -> None:
        limits_s.append(timeout_s)
        if (error := answers.pop(0)) is not None:
            raise error

    monkeypatch.setattr(starts._asker, "look", look)
    monkeypatch.setattr(room.time, "sleep", paused_s.append)
    assert [starts.look() for _ in range(3)] == [False, False, True]
    assert limits_s == [room._ASK_S] * 3
    assert paused_s == [room._PAUSE_S] * 2
    assert [line["error"] for line in logs] == [KafkaError(KafkaError._TRANSPORT).str(), "Local: Timed out"]


def test_starts_are_known_soon_after_they_are_asked_for() -> None:
    room = Room()
    room.starts.ask([A, B])
    assert room.until(A, B) == {A: 10, B: 20}
    room.starts.forget([A])
    assert room.ready() == {B: 20}
    assert room.starts.waiting.keys() == {B}


def test_a_start_has_all_that_was_committed_with_it() -> None:
    room = Room()
    room.coordinator.metadata = "image-worker/1;topic=abcdefghijklmnopqrstuv;done=AgM="
    room.starts.ask([A])
    room.until(A)
    start = room.starts.ready()[A]
    assert start.position == Position(10, 5, room.coordinator.metadata)
    assert start.progress == Progress(10, ((12, 15),), topic_id="abcdefghijklmnopqrstuv")
    assert start.committed


def test_a_start_with_which_nothing_was_committed_has_no_metadata() -> None:
    room = Room()
    del room.coordinator.offsets[B]
    room.starts.ask([A, B])
    room.until(A, B)
    starts = room.starts.ready()
    assert starts[A].position == Position(10, 5)
    assert (starts[A].committed, starts[B].committed) == (True, False)


def test_what_is_committed_from_here_on_names_the_topic_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room()
    monkeypatch.setattr(room.starts._watch, "now", lambda: "now" * 7)
    del room.coordinator.offsets[B]
    room.starts.ask([A, B])
    room.until(A, B)
    assert {start.progress.topic_id for start in room.starts.ready().values()} == {"now" * 7}


def test_where_answers_take_longer_than_one_alone_may_at_first_one_that_is_held_back_holds_back_no_other() -> None:
    room = Room()
    room.coordinator.takes_s = 0.9
    room.coordinator.held_back = {B}
    room.starts.ask([A, B, C])
    assert room.until(A, C) == {A: 10, C: 30}


def test_since_when_each_waits_is_known_to_who_has_the_table_whatever_is_asked_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, now_s = Room(), [100.0]
    monkeypatch.setattr(room.time, "monotonic", lambda: now_s[0])
    waiting = whole.starts.waiting
    whole.starts.ask([A])
    now_s[0] += 1
    whole.starts.ask([B])
    now_s[0] += whole.starts._patience_s
    whole.starts.ready()
    assert waiting == {A: 100.0, B: 101.0}
    whole.starts.forget([A])
    assert waiting == {B: 101.0}


@pytest.mark.parametrize("others", [{A}, {A, C}])
def test_a_partition_that_is_held_back_holds_back_no_other(others: set[Partition]) -> None:
    room = Room()
    room.coordinator.held_back = {B}
    room.starts.ask([*others, B])
    assert room.until(*others).keys() == others


def test_partitions_that_are_held_back_are_said_once_and_asked_for_again_and_again(logs: list[EventDict]) -> None:
    room = Room()
    room.coordinator.held_back = {A, B}
    room.starts.ask([A, B, C])
    wait_for(lambda: not room.ready().keys() & {A, B} and room.coordinator.asked.count([1]) > 2, "they are asked for")
    assert waits(logs) == [["images[0]"], ["images[1]"]]
    room.starts.forget([B])
    room.starts.ask([B])
    wait_for(lambda: not room.ready().get(B) and len(waits(logs)) > 2, "in another assignment it is said again")
    room.coordinator.offsets[B] = 21
    room.coordinator.held_back.clear()
    assert room.until(B)[B] == 21


def test_a_question_in_vain_is_followed_by_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, now_s = Room(), [100.0]
    whole.coordinator.held_back = {A}
    monkeypatch.setattr(room.time, "monotonic", lambda: now_s[0])
    whole.starts.ask([A])
    whole.answer()
    for _ in range(3):
        assert whole.ready() == {}
    assert whole.coordinator.asked == [[0]]
    now_s[0] += 1
    assert whole.ready() == {}
    whole.answer()
    assert whole.coordinator.asked == [[0], [0]]


def waits(logs: list[EventDict]) -> list[list[str]]:
    return [line["partitions"] for line in logs if line["event"] == "kafka.start_waits"]


def test_what_is_assigned_later_is_asked_for_next_and_not_behind_what_is_held_back() -> None:
    room = Room()
    room.coordinator.held_back = {A, B}
    room.coordinator.answers.clear()
    room.starts.ask([A, B])
    room.starts.ask([C])
    room.answer()
    assert room.until(C) == {C: 30}
    assert room.coordinator.asked[1] == [2]


def test_an_answer_to_what_was_asked_in_an_earlier_assignment_counts_no_more() -> None:
    room = Room()
    room.coordinator.answers.clear()
    room.starts.ask([A, B])
    wait_for(lambda: len(room.coordinator.asked) == 1, "it is asked")
    room.starts.forget([A, B])
    room.coordinator.offsets[A] = 15  # by who had it meanwhile
    room.starts.ask([A])
    room.answer()
    assert room.until(A) == {A: 15}
    assert room.starts.waiting.keys() == {A}, "what was given up does not begin"


def test_after_a_standstill_all_is_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone else may have had the partitions, and no callback has said so yet."""
    found, asked = Room(), Room()
    found.starts.ask([A])
    assert found.until(A) == {A: 10}
    asked.coordinator.answers.clear()
    asked.starts.ask([A])
    wait_for(lambda: len(asked.coordinator.asked) == 1, "it is asked")
    real, patience_s = room.time.monotonic, found.starts._patience_s
    for each in (found, asked):
        each.coordinator.answers.clear()
        each.coordinator.offsets[A] = 15
    monkeypatch.setattr(room.time, "monotonic", lambda: real() + patience_s)
    assert (found.ready(), asked.ready()) == ({}, {})
    found.answer()
    asked.answer()
    assert [each.until(A) for each in (found, asked)] == [{A: 15}, {A: 15}]


def test_where_nothing_is_committed_the_first_record_is_the_start_and_nothing_is_committed_for_it() -> None:
    room = Room()
    room.coordinator.offsets.clear()
    room.starts.ask([A])
    assert room.until(A) == {A: 3}
    assert room.committed == {}


def test_a_start_at_the_end_is_known_when_it_is_committed_and_is_committed_once() -> None:
    room = Room(start="latest")
    room.starts._asker._old = {A}
    room.coordinator.offsets = {C: 30}
    room.commits = False
    room.starts.ask([A, B, C])
    assert room.until(C) == {C: 30}
    assert room.ready() == {C: 30}
    room.commits = True
    assert room.until(A, B) == {A: 7, B: 3, C: 30}, "what was added later is read from its beginning"
    assert room.committed.keys() == {A, B}
    room.committed.clear()
    room.ready()
    assert room.committed == {}
    assert room.starts.ready()[A].progress == Progress(7)


@pytest.mark.parametrize(("takes_s", "tries"), [(1.0, 1), (0.0, 100)])
def test_a_start_that_is_not_committed_keeps_no_poll_waiting_that_follows_at_once(
    monkeypatch: pytest.MonkeyPatch, takes_s: float, tries: int
) -> None:
    """Where it does not wait, it is tried in each: it may be between two settlements that follow each other closely."""
    whole, now_s = Room(start="latest"), [100.0]
    monkeypatch.setattr(room.time, "monotonic", lambda: now_s[0])
    whole.starts._asker._old = {A}
    del whole.coordinator.offsets[A]

    def in_vain(_positions: Mapping[Partition, Position], _timeout_s: float) -> bool:
        whole.asked += 1
        now_s[0] += takes_s
        return False

    whole.starts._commit = in_vain
    whole.starts.ask([A, B])
    whole.answer()
    for _ in range(100):
        assert whole.ready() == {B: 20}
    assert whole.asked == tries


def test_a_commit_of_what_was_given_up_since_is_brought_to_its_end() -> None:
    room = Room(start="latest")
    room.starts._asker._old = {A}
    room.coordinator.offsets.clear()
    room.commits = False
    room.starts.ask([A])
    wait_for(lambda: not room.ready() and bool(room.asked), "it is under way")
    room.starts.forget([A])
    assert room.goes_on == 0
    room.ready()
    assert room.goes_on == 1
    room.commits = True
    for _ in range(3):
        room.ready()
    assert room.goes_on == 2, "its end was heard of"


def test_the_starts_of_a_group_that_begins_are_committed_together() -> None:
    """Else a member that comes just then takes the others for partitions that were added, and reads their history."""
    room = Room(start="latest")
    room.starts._asker._old = {A, B}
    room.coordinator.offsets.clear()
    room.coordinator.held_back = {B}
    room.starts.ask([A, B])
    wait_for(lambda: not room.ready() and A in room.starts._found, "one is found")
    assert room.ready() == room.committed == {}
    room.coordinator.held_back.clear()
    assert room.until(A, B) == {A: 7, B: 7}


def test_a_replay_begins_where_it_was_asked_to_and_its_end_is_committed_with_that() -> None:
    room = Room(Bounds({0: (4, 9)}, "digest"))
    room.coordinator.offsets.clear()
    room.starts.ask([A, B])
    assert room.until(A, B) == {A: 4, B: 3}
    assert room.committed == {A: Position(4, metadata=Progress(4, until=9, asked="digest").metadata)}


def test_a_replay_goes_on_in_no_group_that_is_not_its_own() -> None:
    room = Room(Bounds({0: (4, 9)}, "digest"))
    room.starts.ask([A])
    with pytest.raises(Fatal, match="choose another --id"):
        room.until(A)


def test_who_may_not_ask_is_told_which_right_is_missing() -> None:
    room = Room()
    room.coordinator.refuses = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)
    room.starts.ask([A])
    with pytest.raises(Fatal, match="ask for READ on the group"):
        room.until(A)


def test_a_commit_that_cannot_be_read_is_an_error_with_the_way_on() -> None:
    room = Room()
    room.coordinator.metadata = "image-worker/1;until=soon"
    room.starts.ask([A])
    with pytest.raises(Fatal, match="offsets set"):
        room.until(A)
