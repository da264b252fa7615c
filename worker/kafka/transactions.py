"""One transactional producer: what may be called when, and what an error means.

librdkafka's calls have time limits; init, commit and abort go on where they were when they are called again. An error
says itself what to do: again, abort, or never again. The last is said of two cases alike. Another instance with the
same `transactional.id` has taken it over: that one goes on, this one ends. Or the transaction outlived its timeout (an
outage, a standstill), and the coordinator aborted it and fenced its producer: then a new producer takes its place.

Sending offsets is the one call that may never come back, its time limit notwithstanding, when the group's coordinator
was away (librdkafka issues 5456 and 5511, seen in 2.16). So a thread of its own waits for it, and if it has no answer
in good time the producer is given up with it: the next one fences it.

After a broken connection librdkafka sends its request again, and the first may be on its way still, in a broker that
is slow. If that one is to end the transaction, it ends the next one when it comes, with whatever that holds by then:
half of it is committed, or lost (seen on Apache Kafka 4.3.1; KIP-890 has brokers tell the two apart, but not for
librdkafka 2.16). So a new producer takes over before the next transaction: what comes of the old one is fenced. If it
is to take the id over, it fences the producer that has it by then: once after that, a new one takes over again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from enum import Enum, auto
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from worker.errors import Fatal
from worker.kafka.aside import aside
from worker.kafka.clients import ClientErrors, Disconnects, Throttle, error_in, open_client
from worker.kafka.properties import transactional_properties
from worker.kafka.publisher import Publisher
from worker.kafka.reminder import Reminder
from worker.kafka.settings import KafkaSettings

log = structlog.get_logger(__name__)

_OFFSETS_S = 3.0
"""How long the group's coordinator may take over the offsets: it takes milliseconds."""
_LATE_S = 1.0
"""How much later librdkafka may be with its own time limit, before it is taken for one that never comes back."""
_COMES_WITHIN_S = 60.0
"""How late a request may be whose connection broke: much later than a broker that is slow was ever seen to be."""
_LEAST_S = 0.05
"""For taking the id over, a commit or an abort: librdkafka begins each with a request to itself, not to be left half
way."""
_WAITS_S = 5.0
"""When to speak first of an id that is not given: it takes milliseconds, but for a coordinator that just begins."""

LOOK_AT = (
    "see the brokers' transaction.state.log.replication.factor (no more than there are brokers) and "
    "transaction.state.log.min.isr, and whether their topic __transaction_state is well"
)
"""For the operator, where no transaction coordinator answers: no client is told why."""
HINTS = {
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "ask for WRITE and DESCRIBE on the transactional id",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "ask for IDEMPOTENT_WRITE on the cluster",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "ask for WRITE on the topics of outcomes, and READ on the input topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "ask for READ on the consumer group",
    KafkaError.INVALID_TRANSACTION_TIMEOUT: "lower kafka.transaction_timeout_s, or raise transaction.max.timeout.ms",
    KafkaError.UNSUPPORTED_VERSION: "the brokers are too old for transactions: set kafka.delivery to at-least-once",
    KafkaError._UNSUPPORTED_FEATURE: "the brokers are too old for transactions: set kafka.delivery to at-least-once",
}


class Phase(Enum):
    """Where a transactional producer is. In all but READY and OPEN the same call must be made again."""

    OPENING = auto()
    READY = auto()
    OPEN = auto()
    SENDING = auto()
    COMMITTING = auto()
    ABORTING = auto()


class Aborted(Exception):
    """The transaction must be aborted; what is still ours may be done again, and `at_once` where that will help."""

    def __init__(self, why: str, code: int | None = None, *, at_once: bool = False) -> None:
        super().__init__(why)
        self.code = code
        self.at_once = at_once


class Transactions:
    """The transactions of one `transactional.id`, one after the other. Used by the Kafka thread alone.

    Each call raises Fatal where this instance can never go on.
    """

    def __init__(self, settings: KafkaSettings, transactional_id: str) -> None:
        self._settings = settings
        self._id = transactional_id
        self._timeout_s = settings.transaction_timeout_s
        self._began_s = 0.0
        self._asked_twice_s = -math.inf
        """When a connection broke last while the id was taken over: the first request for it may come late."""
        self.phase = Phase.OPENING
        self._answer: Future[Any] = Future()
        """Of the offsets that were sent last."""
        self._answer_due_s = 0.0
        self.throttle = Throttle("producer")
        self._renew()

    def ready(self, timeout_s: float) -> bool:
        """Whether a transaction may begin: take the id over, or abort what is under way, as far as it goes in time."""
        try:
            if self.phase not in (Phase.OPENING, Phase.READY) and not self._abort(timeout_s):
                return False
            self._renew_after_a_disconnect()
            return self.phase is Phase.READY or self._take_over(timeout_s)
        except Aborted:
            return False

    def _take_over(self, timeout_s: float) -> bool:
        done = self._go(self._producer.init_transactions, timeout_s, then=Phase.READY)
        if done:
            self._call(self._producer.poll, 0)
            self._asked_twice_s = time.monotonic() if self._disconnects.heard_of else self._asked_twice_s
        elif self._reminder.due():
            self._say_that_it_waits()
        return done

    def _say_that_it_waits(self) -> None:
        self._call(self._producer.poll, 0)
        log.warning(
            "kafka.transactional_id_waits",
            id=self._id,
            seconds=self._reminder.seconds,
            error=self._errors.newest or "the client says nothing",
            next=f"wait; if it lasts, {LOOK_AT}",
        )

    def begin(self) -> None:
        if not self._call(self._producer.begin_transaction):
            raise Aborted("a transaction could not begin")
        self._began_s = time.monotonic()
        self.phase = Phase.OPEN

    def flush(self, deadline_s: float) -> bool:
        """Whether the broker has answered for all outcomes that were handed in, by the deadline at the latest."""
        return self._call(self.publisher.flush, deadline_s) and not self.publisher.waiting

    def send_offsets(self, offsets: Sequence[TopicPartition], membership: Any) -> None:
        """Begin to put the offsets into the transaction; `offsets_taken` has the answer."""
        # Done again under a quota, a transaction would cost the quota again, and for good.
        patience_s = self._timeout_s if self.throttle.on else min(_OFFSETS_S, self._timeout_s)
        send = self._producer.send_offsets_to_transaction
        self._answer = aside(lambda: send(list(offsets), membership, patience_s), "offsets")
        self._answer_due_s = time.monotonic() + patience_s + _LATE_S
        self.phase = Phase.SENDING

    def offsets_taken(self, timeout_s: float) -> bool:
        """Whether the offsets are in the transaction. False when time ran out; Aborted where they are refused."""
        if not wait([self._answer], timeout_s).done:
            if time.monotonic() >= self._answer_due_s:
                self._renew()
                raise Aborted("the group's coordinator does not take the offsets", KafkaError._TIMED_OUT)
            return False
        if not self._call(self._answer.result):
            raise Aborted("the offsets could not be sent in time")
        return True

    def give_up(self) -> None:
        """Let an open transaction be aborted by the next `ready`. Raises Fatal where doing it again cannot help."""
        if self.phase in (Phase.OPEN, Phase.SENDING):
            self.phase = Phase.ABORTING
            self._look_for_the_reason()

    def commit(self, timeout_s: float) -> bool:
        """Whether the transaction is committed. False when time ran out: no other call may be made before its answer.

        Aborted leaves it open whether it was committed.
        """
        self.phase = Phase.COMMITTING
        return self._go(self._producer.commit_transaction, timeout_s, then=Phase.READY)

    def close(self, timeout_s: float) -> None:
        """Bring what is under way to its end, if the broker is there. Else its coordinator aborts it at its timeout."""
        deadline_s = time.monotonic() + timeout_s
        try:
            if self.phase is Phase.SENDING and not self.offsets_taken(timeout_s):
                return
            left_s = max(0.0, deadline_s - time.monotonic())
            if self.phase is Phase.COMMITTING:
                self.commit(left_s)
            elif self.phase not in (Phase.OPENING, Phase.READY):
                self._abort(left_s)
            self._call(self.publisher.close)
        except (Aborted, Fatal) as error:
            log.warning("kafka.transaction_left", error=str(error), next="its coordinator aborts it at its timeout")

    def _look_for_the_reason(self) -> None:
        """Why a transaction failed beside our calls: librdkafka says it to whoever begins another (seen in 2.16)."""
        try:
            self._producer.begin_transaction()
        except KafkaException as exception:
            error: KafkaError = exception.args[0]
            if error.code() in HINTS:
                raise self._never(error, HINTS[error.code()]) from exception

    def _renew_after_a_disconnect(self) -> None:
        if self.phase is not Phase.READY:
            return
        self._call(self._producer.poll, 0)
        if self._disconnects.heard_of:
            log.info("kafka.transaction_disconnect", next="a new producer: old requests may be on their way still")
            self._renew()

    def _renew(self) -> None:
        self._disconnects = Disconnects()
        properties = {**transactional_properties(self._settings, self._id), "logger": self._disconnects}
        self._errors = ClientErrors("producer")
        self._producer = open_client(Producer, properties, self._errors, self.throttle)
        self.publisher = Publisher(self._producer)
        self._reminder = Reminder(_WAITS_S)
        self.phase = Phase.OPENING

    def _abort(self, timeout_s: float) -> bool:
        self.phase = Phase.ABORTING
        done = self._go(self._producer.abort_transaction, timeout_s, then=Phase.READY)
        if done:
            # The reports of what was purged, all of which have come by now.
            self.publisher.take_refused()
        return done

    def _go(self, call: Callable[[float], Any], timeout_s: float, *, then: Phase) -> bool:
        done = self._call(call, max(_LEAST_S, timeout_s))
        if done:
            self.phase = then
        return done

    def _call(self, call: Callable[..., Any], *arguments: Any) -> bool:
        """Whether it is done; False where it must be called again."""
        try:
            call(*arguments)
        except (KafkaException, SystemError) as exception:
            error = error_in(exception)
            if error is None:
                raise Aborted("an error of the producer was lost: the next call says what it was") from exception
            if error.code() in HINTS:
                raise self._never(error, HINTS[error.code()]) from exception
            if error.retriable():
                return False
            if error.txn_requires_abort():
                self.phase = Phase.ABORTING
                raise Aborted(error.str(), error.code()) from exception
            raise self._spent(error) from exception
        return True

    def _spent(self, error: KafkaError) -> Exception:
        """Of a producer that can be used no more: what that means for the worker."""
        age_s = time.monotonic() - self._began_s
        if self.phase not in (Phase.OPENING, Phase.READY) and age_s >= self._timeout_s:
            log.warning("kafka.transaction_outlived", error=error.str(), seconds=round(age_s, 1), next="a new producer")
            self._renew()
            return Aborted(error.str(), error.code())
        if error.code() == KafkaError._FENCED and time.monotonic() - self._asked_twice_s < _COMES_WITHIN_S:
            self._asked_twice_s = -math.inf
            log.warning("kafka.transaction_fenced", error=error.str(), next="a new producer: it asked for the id twice")
            self._renew()
            return Aborted(error.str(), error.code())
        if error.code() == KafkaError._FENCED:
            return self._never(
                error,
                "another instance has taken this id over: set kafka.transactional_id to another value in each worker "
                "that runs at the same time, or leave it out; where there is none, the coordinator's clock jumped or "
                "this machine slept: start the worker again",
            )
        return self._never(error, "see the broker's log")

    def _never(self, error: KafkaError, hint: str) -> Fatal:
        return Fatal(
            f"Kafka transactions with the id {self._id!r}: {error.str()} ({error.name()}): {hint}; "
            "what was not committed will be done again"
        )
