"""What is committed with no outcomes in exactly-once, starts and the ends of replays: in transactions of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.typing import EventDict

from tests.unit.kafka.coordinator import FakeProducer, Trouble
from tests.unit.kafka.once import PARTITIONS
from tests.unit.kafka.scene import Scene, a_scene
from worker.kafka.ledger import Position
from worker.kafka.transactions import Phase

A, B = PARTITIONS
START = {B: Position(0, metadata="image-worker/1;until=7")}


@pytest.fixture
def scene() -> Iterator[Scene]:
    with a_scene() as whole:
        yield whole


def commits(scene: Scene, positions: dict[tuple[str, int], Position], seconds: float = 0.0) -> bool:
    scene.cluster.pass_time(seconds)
    return scene.sink.commit(positions, scene.group, 0.0)


def test_with_no_settlement_under_way_it_is_committed_at_once(scene: Scene) -> None:
    assert commits(scene, START)
    assert scene.cluster.offsets == START
    assert scene.phase is Phase.READY
    assert scene.come(0, 1).goes_on_after()


@pytest.mark.parametrize(
    ("call", "trouble"),
    [("flush", Trouble.NOT_DONE), ("offsets", Trouble.SILENT), ("commit", Trouble.NOT_DONE)],
)
def test_while_a_settlement_is_under_way_it_waits(scene: Scene, call: str, trouble: Trouble) -> None:
    assert not scene.happens(call, trouble).come(0, 2).goes_on_after()
    assert not commits(scene, START)
    assert B not in scene.cluster.transaction().offsets
    while not scene.goes_on_after(1.0):
        pass
    assert scene.cluster.visible[A] == [0, 1]
    assert commits(scene, START)
    assert scene.cluster.offsets.keys() == {A, B}


def test_while_it_is_open_whether_a_settlement_was_committed_it_waits(scene: Scene) -> None:
    assert not scene.happens("commit", Trouble.OUTLIVED).come(0, 1).goes_on_after()
    assert not commits(scene, START)
    assert scene.goes_on_after()
    assert commits(scene, START)
    assert scene.cluster.visible[A] == [0]


@pytest.mark.parametrize("call", ["offsets", "commit"])
def test_a_settlement_brings_to_its_end_what_is_under_way(scene: Scene, call: str) -> None:
    trouble = Trouble.SILENT if call == "offsets" else Trouble.NOT_DONE
    assert not commits(scene.happens(call, trouble), START)
    scene.come(0, 2)
    while not scene.goes_on_after(1.0):
        pass
    assert scene.cluster.visible[A] == [0, 1]
    assert (scene.cluster.offsets.get(B) == START[B]) == (call == "commit"), "the other was given up"
    assert commits(scene, START)
    assert scene.cluster.offsets[B] == START[B]


def test_the_end_of_what_is_under_way_is_not_taken_for_that_of_a_settlement(scene: Scene) -> None:
    assert not commits(scene.happens("commit", Trouble.NOT_SAID), START)
    scene.come(0, 1)
    while not scene.goes_on_after(1.0):
        pass
    assert scene.cluster.visible[A] == [0]
    assert scene.cluster.offsets[B] == START[B]


def test_what_was_begun_goes_on_though_nothing_is_to_be_committed_any_more(scene: Scene) -> None:
    """Else a new owner, who is told to wait, waits for the transaction's timeout."""
    assert not commits(scene.happens("commit", Trouble.NOT_DONE), START)
    assert not scene.cluster.stable(B)
    assert commits(scene, {})
    assert scene.cluster.stable(B)


def test_what_was_begun_is_no_answer_for_what_is_to_be_committed_by_now(scene: Scene) -> None:
    assert not commits(scene.happens("commit", Trouble.NOT_DONE), START)
    both = {**START, A: Position(0, metadata="image-worker/1;until=5")}
    assert commits(scene, both)
    assert scene.cluster.offsets == both


def test_a_generation_that_was_refused_is_not_tried_again_until_the_next_one_comes(scene: Scene) -> None:
    scene.cluster.generation = object()
    assert not commits(scene, START)
    assert not commits(scene, START, 19.0)
    assert scene.phase is Phase.READY
    assert scene.cluster.open is None, "a transaction was begun for nothing"
    scene.group.membership = None
    assert not commits(scene, START)
    scene.hear_of_it()
    assert commits(scene, START)


def test_what_is_refused_again_and_again_is_tried_twice_a_second_at_most(scene: Scene, logs: list[EventDict]) -> None:
    for _ in range(1000):
        assert not commits(scene.happens("offsets", Trouble.REFUSED), START, 0.01)
    assert 15 <= len([line for line in logs if line["event"] == "kafka.transaction_aborted"]) <= 21, "in ten seconds"
    scene.cluster.troubles.clear()
    assert commits(scene, START, 1.0)


@pytest.mark.parametrize("call", ["offsets", "commit"])
def test_a_request_that_was_sent_twice_moves_no_offset_back_when_the_first_comes_late(scene: Scene, call: str) -> None:
    assert commits(scene.happens(call, Trouble.RESENT), {A: Position(0)})
    assert not scene.happens("flush", Trouble.NOT_DONE).come(0, 2).goes_on_after()
    scene.cluster.strays_arrive()
    assert scene.goes_on_after()
    assert scene.cluster.offsets[A] == Position(2)


def test_what_is_not_answered_is_not_taken_for_done_and_is_begun_once(scene: Scene) -> None:
    begun: list[FakeProducer] = []
    begin = FakeProducer.begin_transaction
    scene.patches.setattr(FakeProducer, "begin_transaction", lambda producer: (begun.append(producer), begin(producer)))
    for _ in range(3):
        assert not commits(scene.happens("commit", Trouble.NOT_DONE), START)
        assert scene.cluster.offsets == {}
    assert commits(scene, START)
    assert scene.cluster.offsets == START
    assert len(begun) == 1


def test_it_takes_no_longer_than_it_may(scene: Scene) -> None:
    left_s: list[float] = []
    commit = FakeProducer.commit_transaction

    def timed(producer: FakeProducer, timeout_s: float) -> None:
        left_s.append(timeout_s)
        commit(producer, timeout_s)

    scene.patches.setattr(FakeProducer, "commit_transaction", timed)
    assert scene.sink.commit(START, scene.group, 0.7)
    assert left_s == pytest.approx([0.7])
