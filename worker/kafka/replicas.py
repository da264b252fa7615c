"""What the cluster says of the replicas of our topics: who leads, how many are in sync, or nothing at all.

A consumer tells nobody that a partition has no leader: librdkafka waits for one without a word (read in 2.16). And one
of the new protocol keeps its partitions while no broker answers. So a worker that has nothing in flight would look
well, and one whose outcomes are refused for too few replicas could not say why it waits.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future

import structlog
from confluent_kafka import KafkaError, KafkaException, Node, TopicCollection, TopicPartitionInfo
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._topic import TopicDescription

from worker.kafka.ledger import Partition

log = structlog.get_logger(__name__)

_ANSWERS_IN_S = 5.0
"""How long an answer may take, on a machine that is overrun: it takes milliseconds."""
_AGAIN_S = 1.0
_MOST = 3
"""Partitions that a line names."""
_SILENT = {
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._TRANSPORT,
    KafkaError._RESOLVE,
    KafkaError._ALL_BROKERS_DOWN,
}
"""What is said where no broker answers."""


class Replicas:
    """Asks now and then, and each second while something is wrong. Used by the Kafka thread alone.

    Where the cluster does not let this user describe a topic, nothing is known of it.
    """

    def __init__(self, admin: AdminClient, topic: str, every_s: float) -> None:
        """`topic`: that of the events."""
        self._admin = admin
        self._topic = topic
        self._every_s = every_s
        self._asked_s = self._due_s = 0.0
        self._questions: Mapping[str, Future[TopicDescription]] = {}
        self._silent_since_s: float | None = None
        self._leaderless: Mapping[int, float] = {}
        """Partitions of the events that nobody leads, and since when (monotonic)."""
        self.short: tuple[str, ...] = ()
        """Partitions of the outcomes that lack replicas, as of when outcomes waited last."""

    def look(self, outcomes: Collection[str] = ()) -> None:
        """Note what was answered, and ask where it is time to; waits for nothing. `outcomes`: topics of what waits."""
        now_s = time.monotonic()
        if self._questions and all(question.done() for question in self._questions.values()):
            self._note(now_s)
        if not outcomes:
            self.short = ()
        if outcomes or self._leaderless or self._silent_since_s is not None:
            self._due_s = min(self._due_s, self._asked_s + _AGAIN_S)
        if not self._questions and now_s >= self._due_s:
            self._ask({self._topic, *outcomes}, now_s)

    def heard(self) -> None:
        """Note that a record came: so a broker answers, whoever of them this is asked of."""
        self._silent_since_s = None

    def failing(self, partition: Partition, now_s: float) -> tuple[float, str]:
        """For how long a partition of the events cannot be fetched, and why; 0 where nothing is known to be wrong."""
        reasons = {"it has no leader": self._leaderless.get(partition[1]), "no broker answers": self._silent_since_s}
        known = [(since_s, why) for why, since_s in reasons.items() if since_s is not None]
        since_s, why = min(known, default=(now_s, ""))
        return now_s - since_s, why

    def _ask(self, topics: Collection[str], now_s: float) -> None:
        self._asked_s, self._due_s = now_s, now_s + self._every_s
        self._questions = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=_ANSWERS_IN_S)

    def _note(self, now_s: float) -> None:
        answers = {topic: _answer(question) for topic, question in self._questions.items()}
        self._questions = {}
        told = {topic: partitions for topic, partitions in answers.items() if partitions is not None}
        if len(told) < len(answers):
            self._silent_since_s, self.short = self._silent_since_s or now_s, ()
            return
        # Of what was not led when the brokers came back nothing was fetched meanwhile.
        since_s, self._silent_since_s = self._silent_since_s or now_s, None
        leaderless = [each.id for each in told.pop(self._topic) if not _is_led(each)]
        self._leaderless = {number: self._leaderless.get(number, since_s) for number in leaderless}
        self._note_short([line for topic, found in sorted(told.items()) for line in _short(topic, found)])

    def _note_short(self, lines: Sequence[str]) -> None:
        before, self.short = self.short, tuple(lines[:_MOST])
        if lines[_MOST:]:
            self.short += (f"{len(lines) - _MOST} more partitions lack replicas",)
        if self.short and not before:
            log.warning("kafka.replicas_missing", partitions=self.short, next="bring the brokers back that have them")


def _answer(question: Future[TopicDescription]) -> Sequence[TopicPartitionInfo] | None:
    """The topic's partitions; none where the cluster does not tell them, None where no broker answers."""
    try:
        return list(question.result().partitions)
    except KafkaException as error:
        return None if error.args[0].code() in _SILENT else []


def _short(topic: str, partitions: Iterable[TopicPartitionInfo]) -> Iterator[str]:
    for each in partitions:
        if not _is_led(each):
            yield f"{topic}[{each.id}] has no leader"
        elif len(each.isr) < len(each.replicas):
            yield f"{topic}[{each.id}] has {len(each.isr)} of {len(each.replicas)} replicas in sync"


def _is_led(partition: TopicPartitionInfo) -> bool:
    leader: Node | None = partition.leader  # None where there is none, whatever its type says (seen in 2.16)
    return leader is not None and leader.id >= 0
