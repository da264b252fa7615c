"""Exactly-once without a broker: by example, and as a state machine in both orders."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, wait
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError
from hypothesis import settings
from structlog.typing import EventDict

from tests.mutation import examples
from tests.unit.kafka.coordinator import FakeProducer, Trouble
from tests.unit.kafka.once import PARTITIONS, TIMEOUT_S, Once
from tests.unit.kafka.scene import Scene, a_scene
from worker.errors import Fatal
from worker.kafka import exactly_once, transactions
from worker.kafka.ledger import Position
from worker.kafka.transactions import Phase

A, B = PARTITIONS


@pytest.fixture
def scene() -> Iterator[Scene]:
    with a_scene() as scene:
        yield scene


def test_what_a_rebalance_took_out_of_an_open_transaction_is_aborted_and_the_rest_done_again(scene: Scene) -> None:
    scene.happens("flush", Trouble.NOT_DONE).come(0, 2).come(1, 2)
    assert not scene.goes_on_after()
    scene.take_away(second=False, heard=True, works=True, seconds=0.0)
    assert not scene.goes_on_after()
    assert scene.goes_on_after()
    assert scene.cluster.visible == {A: [0], B: [0, 1]}


def test_a_commit_whose_producer_was_fenced_meanwhile_is_known_by_its_offsets(scene: Scene) -> None:
    scene.happens("commit", Trouble.OUTLIVED).come(0, 1).come(1, 1)
    assert not scene.goes_on_after()
    scene.happens("ask", Trouble.NOT_DONE)
    assert not scene.goes_on_after(), "the group does not say"
    assert scene.goes_on_after()
    assert scene.cluster.visible == {A: [0], B: [0]}
    assert scene.come(0, 1).goes_on_after()
    assert scene.cluster.visible == {A: [0, 1], B: [0]}


def test_a_commit_that_is_not_answered_is_waited_for(scene: Scene) -> None:
    scene.happens("commit", Trouble.UNANSWERED).come(0, 1)
    assert not scene.goes_on_after()
    assert scene.phase is Phase.COMMITTING
    assert scene.goes_on_after()
    assert scene.phase is Phase.READY


@pytest.mark.parametrize("call", ["commit", "abort", "offsets"])
def test_a_request_that_was_sent_twice_does_nothing_to_the_next_transaction(scene: Scene, call: str) -> None:
    scene.happens(call, Trouble.RESENT).come(0, 1)
    if call == "abort":
        scene.happens("flush", Trouble.REFUSED)
        assert not scene.goes_on_after()
    assert scene.goes_on_after()
    former = scene.sink._transactions.publisher
    assert not scene.happens("flush", Trouble.NOT_DONE).come(0, 2).goes_on_after()
    scene.cluster.strays_arrive()
    assert scene.goes_on_after()
    assert scene.cluster.visible[A] == [0, 1, 2]
    assert (scene.sink._transactions.publisher is former) == (call == "abort"), "a new producer took over in time"


def test_with_its_connections_whole_a_producer_is_kept(scene: Scene) -> None:
    assert scene.come(0, 1).goes_on_after()
    former = scene.sink._transactions.publisher
    scene.sink._transactions._disconnects.log(20, "", "FAIL", "", "Connection refused (after 7ms in state CONNECT)")
    scene.sink._transactions._disconnects.log(20, "", "GETPID", "", "in state UP")
    assert scene.come(0, 1).goes_on_after()
    assert scene.sink._transactions.publisher is former


def test_while_the_group_has_not_taken_us_in_nothing_is_begun(scene: Scene) -> None:
    scene.come(0, 1).group.membership = None
    assert not scene.goes_on_after()
    assert scene.phase is Phase.READY


def test_while_the_cluster_gives_no_transactional_id_that_is_said_after_some_seconds_and_every_half_minute(
    scene: Scene, logs: list[EventDict]
) -> None:
    for _ in range(66):
        assert not scene.happens("init", Trouble.NOT_DONE).sink.open(0.0)
        scene.cluster.pass_time(1.0)
    assert scene.sink.open(0.0)
    said = [line for line in logs if line["event"] == "kafka.transactional_id_waits"]
    assert [line["seconds"] for line in said] == [5, 35, 65]
    assert said[0]["id"] == scene.settings.transactional_id
    assert "transaction.state.log.replication.factor" in said[0]["next"]


def test_offsets_that_are_never_answered_are_given_up_with_their_producer(scene: Scene) -> None:
    scene.happens("offsets", Trouble.SILENT).come(0, 1)
    assert not scene.goes_on_after()
    former = scene.sink._transactions.publisher
    assert not scene.goes_on_after(3.9)
    assert scene.phase is Phase.SENDING
    assert not scene.goes_on_after(0.1)
    assert scene.phase is Phase.OPENING
    assert scene.sink._transactions.publisher is not former
    assert scene.goes_on_after()


def test_under_a_quota_the_answer_about_the_offsets_has_as_long_as_the_transaction(scene: Scene) -> None:
    assert not scene.sink.throttled
    scene.sink._transactions.throttle(SimpleNamespace(throttle_time=30.0))
    assert scene.sink.throttled
    scene.happens("offsets", Trouble.SILENT).come(0, 1)
    assert not scene.goes_on_after()
    assert not scene.goes_on_after(TIMEOUT_S + 0.9)
    assert scene.phase is Phase.SENDING
    assert not scene.goes_on_after(0.1)
    assert scene.phase is Phase.OPENING


def test_one_outcome_that_is_to_blame_becomes_a_dead_letter_between_its_neighbours(scene: Scene) -> None:
    scene.cluster.blames = {(A, 1): KafkaError.INVALID_RECORD, (A, 3): KafkaError.INVALID_RECORD}
    scene.come(0, 5)
    settlement = scene.ledger.take()
    assert settlement is not None
    steps = 1
    while not scene.goes_on_after():
        steps += 1
    assert steps == 4, "together, each of the two alone, and together"
    assert scene.cluster.visible[A] == [0, 1, 2, 3, 4]
    kinds = [ticket.outcome.kind for ticket in settlement.tickets if ticket.outcome]
    assert kinds == ["classification", "dead_letter", "classification", "dead_letter", "classification"]


def test_nothing_that_was_not_suspected_is_sent_with_who_was(scene: Scene) -> None:
    """Else an innocent one would be taken for the one that was refused alone."""
    scene.cluster.blames = {(A, 1): KafkaError.INVALID_RECORD}
    scene.come(0, 4)
    settlement = scene.ledger.take()
    assert settlement is not None
    assert not scene.goes_on_after(), "together"
    assert not scene.goes_on_after(), "the first alone, which is taken, and the second, which is not"
    scene.cluster.blames[A, 0] = KafkaError.INVALID_RECORD
    while not scene.goes_on_after():
        pass
    kinds = [ticket.outcome.kind for ticket in settlement.tickets if ticket.outcome]
    assert kinds == ["dead_letter", "dead_letter", "classification", "classification"]


def test_a_suspect_of_which_nothing_is_heard_in_time_is_waited_for_before_the_offsets_are_sent(scene: Scene) -> None:
    scene.cluster.blames = {(A, 1): KafkaError.INVALID_RECORD}
    scene.come(0, 4)
    assert not scene.goes_on_after(), "together"
    assert not scene.happens("flush", Trouble.NOT_DONE).goes_on_after()
    assert scene.phase is Phase.OPEN
    while not scene.goes_on_after():
        pass
    assert scene.cluster.visible[A] == [0, 1, 2, 3]


def test_who_was_suspected_in_one_settlement_is_not_sent_alone_in_the_next(scene: Scene) -> None:
    scene.cluster.blames = {(A, 1): KafkaError.INVALID_RECORD}
    scene.come(0, 2)
    while not scene.goes_on_after():
        pass
    assert not scene.sink._suspects
    assert scene.come(0, 3).goes_on_after()


def test_an_outcome_that_is_refused_for_good_ends_the_worker(scene: Scene) -> None:
    scene.cluster.blames = {(A, 0): KafkaError.TOPIC_AUTHORIZATION_FAILED}
    scene.come(0, 1)
    with pytest.raises(Fatal, match=r"topic 'results': .*TOPIC_AUTHORIZATION_FAILED.*ask for WRITE"):
        scene.goes_on_after()


def test_with_nothing_left_that_is_ours_a_settlement_is_done(scene: Scene) -> None:
    scene.happens("flush", Trouble.NOT_DONE).come(0, 2)
    assert not scene.goes_on_after()
    scene.take_away(second=False, heard=True, works=False, seconds=0.0)
    assert not scene.goes_on_after()
    assert scene.goes_on_after()
    assert scene.cluster.visible[A] == []


@pytest.mark.parametrize("phase", [Phase.OPEN, Phase.SENDING, Phase.COMMITTING, Phase.ABORTING, Phase.OPENING])
def test_who_closes_brings_a_commit_to_its_end_and_aborts_the_rest(scene: Scene, phase: Phase) -> None:
    scene.patches.setattr(exactly_once, "_CLOSE_S", 0.0)
    lapse = {
        Phase.OPENING: ("init", Trouble.NOT_DONE),
        Phase.OPEN: ("flush", Trouble.NOT_DONE),
        Phase.SENDING: ("offsets", Trouble.SILENT),
        Phase.COMMITTING: ("commit", Trouble.NOT_DONE),
        Phase.ABORTING: ("flush", Trouble.REFUSED),
    }
    scene.happens(*lapse[phase]).come(0, 2)
    assert not scene.goes_on_after()
    assert scene.phase is phase
    scene.sink.close()
    # Of offsets that are not answered nobody knows whether they are taken: the coordinator aborts that in time.
    assert (scene.cluster.open is None) == (phase is not Phase.SENDING)
    assert scene.cluster.visible[A] == ([0, 1] if phase is Phase.COMMITTING else [])
    assert scene.cluster.offsets.get(A) == (Position(2) if phase is Phase.COMMITTING else None)


def test_what_goes_wrong_in_closing_is_logged_and_the_identity_let_go(scene: Scene) -> None:
    scene.happens("flush", Trouble.NOT_DONE).come(0, 2)
    assert not scene.goes_on_after()
    scene.happens("abort", KafkaError.UNKNOWN).sink.close()
    scene.start()


def test_who_closes_has_one_deadline_for_all_of_it(scene: Scene) -> None:
    scene.happens("offsets", Trouble.SILENT).come(0, 2)
    assert not scene.goes_on_after()
    abort, left_s = FakeProducer.abort_transaction, []

    def answered_late(answers: list[Future[None]], timeout_s: float) -> Any:
        assert timeout_s == exactly_once._CLOSE_S
        scene.cluster.now_s += 0.75 * timeout_s
        answers[0].set_result(None)
        return wait(answers, 0.0)

    def timed(producer: FakeProducer, timeout_s: float) -> None:
        left_s.append(timeout_s)
        abort(producer, timeout_s)

    scene.patches.setattr(transactions, "wait", answered_late)
    scene.patches.setattr(FakeProducer, "abort_transaction", timed)
    scene.sink.close()
    assert left_s == [0.25 * exactly_once._CLOSE_S]


def test_another_producer_with_the_same_id_ends_the_worker_which_says_so(scene: Scene) -> None:
    scene.happens("flush", Trouble.NOT_DONE).come(0, 2)
    assert not scene.goes_on_after(1.0)
    scene.cluster.take_over()
    with pytest.raises(
        Fatal, match=r"'once-\d+-\d+': .*\(_FENCED\): another instance has taken this id over: set kafka.tr"
    ):
        scene.goes_on_after(TIMEOUT_S - 0.1)


def test_who_is_fenced_by_its_own_late_request_for_the_id_takes_it_over_again_and_the_next_time_it_is_another(
    scene: Scene,
) -> None:
    scene.come(0, 2).happens("init", Trouble.RESENT).happens("flush", Trouble.NOT_DONE)
    assert not scene.goes_on_after()
    scene.cluster.take_over()
    assert not scene.goes_on_after(1.0), "a new producer"
    assert not scene.happens("flush", Trouble.NOT_DONE).goes_on_after()
    scene.cluster.take_over()
    with pytest.raises(Fatal, match="another instance has taken this id over"):
        scene.goes_on_after(1.0)


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "WRITE and DESCRIBE on the transactional id"),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, "IDEMPOTENT_WRITE on the cluster"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "READ on the input topic"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "READ on the consumer group"),
        (KafkaError.INVALID_TRANSACTION_TIMEOUT, "lower kafka.transaction_timeout_s"),
        (KafkaError.UNSUPPORTED_VERSION, "set kafka.delivery to at-least-once"),
        (KafkaError.UNKNOWN, "see the broker's log"),
    ],
)
@pytest.mark.parametrize("call", ["init", "begin", "commit"])
def test_what_the_brokers_refuse_for_good_ends_the_worker_with_a_hint(
    scene: Scene, call: str, code: int, hint: str
) -> None:
    scene.happens(call, code).come(0, 1)
    with pytest.raises(Fatal, match=f"{KafkaError(code).name()}.*{hint}.*; what was not committed will be done again$"):
        scene.goes_on_after()


def test_why_a_transaction_failed_is_asked_for_before_it_is_done_again(scene: Scene) -> None:
    scene.happens("flush", Trouble.NOT_DONE).come(0, 2)
    assert not scene.goes_on_after()
    scene.happens("flush", Trouble.REFUSED).happens("begin", KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(Fatal, match=r"TOPIC_AUTHORIZATION_FAILED.*ask for WRITE on the topics of outcomes"):
        scene.goes_on_after()


def test_a_reason_that_doing_it_again_may_mend_is_not_looked_at(scene: Scene) -> None:
    scene.happens("flush", Trouble.NOT_DONE).come(0, 2)
    assert not scene.goes_on_after()
    scene.happens("flush", Trouble.REFUSED).happens("begin", KafkaError._STATE)
    assert not scene.goes_on_after()
    assert scene.phase is Phase.ABORTING
    assert scene.goes_on_after()


class OnceOutOfOrder(Once):
    in_order = False


# Some 21,000 steps.
for once in (Once, OnceOutOfOrder):
    once.TestCase.settings = settings(max_examples=examples(300), stateful_step_count=40, deadline=None)
TestOnce = Once.TestCase
TestOnceOutOfOrder = OnceOutOfOrder.TestCase
