"""Which topic the offsets count: one that is deleted and made again has its old name, and another id (KIP-516).

Nothing else tells the two apart. librdkafka reads on in the new one from where it was in the old one, if that is long
enough by then (seen in 2.16). So the id travels in every commit (progress.py), and is compared where partitions are
assigned, before anything is read, and then as often as the consumer looks for new partitions. What is committed until
that is noticed names the topic that it was meant for, and so stops whoever reads it next.

One that is deleted for good is told of by nothing else either, where there is nothing to commit: the group takes its
partitions away without a word (seen on Apache Kafka 4.3.1).
"""

from __future__ import annotations

import math
import time
from concurrent.futures import Future

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._topic import TopicDescription

from worker.errors import Fatal
from worker.kafka.clients import ClientErrors, open_client
from worker.kafka.poll_errors import Gap
from worker.kafka.progress import Progress
from worker.kafka.properties import client_properties, consumer_properties
from worker.kafka.settings import KafkaSettings

log = structlog.get_logger(__name__)

OF_A_REPLAY = "choose another --id"
"""The way on where a replay's topic is no more."""

_ASK_S = 1.0
_GONE_S = 30.0
"""How long its brokers say that there is no such topic before they are believed: one that starts may not know it."""
_LOOKS_AROUND = {"topic.metadata.refresh.interval.ms": 5000}
"""librdkafka asks the broker that it takes for the controller, and waits for it when it is dead, until it looks around
among the brokers: by default after five minutes (seen in 2.16)."""
_NONE = "A" * 22
"""Sixteen zero bytes: what brokers say that give topics no ids (before Kafka 2.8)."""


class TopicWatch:
    """Holds the input topic to its id. Used by the Kafka thread alone.

    Where the cluster does not say the id, nothing is compared: it is too old, embedded, or does not let this user
    describe the topic. That is logged, and asked again now and then.
    """

    def __init__(self, settings: KafkaSettings, *, replay: bool = False) -> None:
        self._topic = settings.topics.input
        self._way_on = (
            OF_A_REPLAY
            if replay
            else "to go on at the beginning of the new one, stop the group and run: image-worker offsets set --group "
            f"{settings.group_id} --to beginning"
        )
        properties = {**client_properties(settings), **_LOOKS_AROUND}
        self.admin = open_client(AdminClient, properties, ClientErrors("topic"))
        self._known: str | None = None
        """The id as it was first heard of here, from the cluster or from a commit."""
        self._gone_s: float | None = None
        """Since when (monotonic) the brokers say that it is no more."""
        self._mute = False
        """Whether the cluster did not say it when it was asked first."""
        self._question: Future[TopicDescription] | None = None
        self._due_s = 0.0
        interval_ms = float(consumer_properties(settings)["topic.metadata.refresh.interval.ms"])
        self.every_s = interval_ms / 1000 if interval_ms > 0 else math.inf

    def look(self) -> None:
        """Ask where it is time to, and see what was answered; waits for nothing.

        Raises Gap where it is another topic, or none: Gap, since what was read before can still be settled.
        """
        if self._question is None and time.monotonic() >= self._due_s:
            self._ask()
        elif self._question is not None and self._question.done():
            self._answer()

    def now(self) -> str | None:
        """The id as of now; None where it is not known. Raises Gap where it is another topic than before.

        Waits for a second at most, and not at all for a cluster that has never said it.
        """
        return None if self._mute else self._answer()

    def check(self, partition: int, committed: Progress) -> None:
        """Fatal where what was committed counts the offsets of a topic that is no more."""
        self._known = self._known or committed.topic_id
        require_same(self._topic, partition, committed, self._known, self._way_on)

    def _ask(self) -> Future[TopicDescription]:
        self._due_s = time.monotonic() + self.every_s
        self.admin.poll(0)  # what it was told of an outage would gather
        self._question = ask_id(self.admin, self._topic)
        return self._question

    def _answer(self) -> str | None:
        question, self._question = self._question or self._ask(), None
        try:
            found, why = told_id(question), "its brokers give topics no ids"
        except (KafkaException, TimeoutError) as error:
            found, why = None, error.args[0].str() if isinstance(error, KafkaException) else "no answer in time"
            self._note_absence(error)
        if found is None:
            self._note_silence(why)
        elif self._known is not None and found != self._known:
            raise Gap(
                f"{self._topic} was deleted and made again while it was read: its id was {self._known}, and is {found} "
                f"now; what is committed counts the old one; {self._way_on}"
            )
        else:
            self._known, self._mute, self._gone_s = found, False, None
        return found

    def _note_absence(self, error: KafkaException | TimeoutError) -> None:
        """Of a topic that was there."""
        told = isinstance(error, KafkaException) and error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
        now_s = time.monotonic()
        self._gone_s = (self._gone_s or now_s) if told and self._known is not None else None
        if self._gone_s is None:
            return
        self._due_s = min(self._due_s, now_s + _ASK_S)
        if now_s - self._gone_s >= _GONE_S:
            raise Gap(
                f"{self._topic} was deleted: for {_GONE_S:.0f} s its brokers have said that there is no such topic; "
                "create it again, or see kafka.topics.input"
            )

    def _note_silence(self, why: str) -> None:
        if self._known is None and not self._mute:
            log.warning("kafka.topic_id_unknown", topic=self._topic, error=why, next="go on, and ask now and then")
            self._mute = True


def require_same(topic: str, partition: int, committed: Progress, known: str | None, way_on: str) -> None:
    """Fatal where what was committed counts the offsets of another topic than that of the known id."""
    if not committed.may_be_of(known):
        raise Fatal(
            f"{topic}[{partition}]: offset {committed.base} was committed for the topic of this name that had the id "
            f"{committed.topic_id}: it was deleted and made again, and has {known} now; {way_on}"
        )


def ask_id(admin: AdminClient, topic: str) -> Future[TopicDescription]:
    """Ask for a topic's id, and wait for nothing."""
    return admin.describe_topics(TopicCollection([topic]), request_timeout=_ASK_S)[topic]


def told_id(description: Future[TopicDescription]) -> str | None:
    """The answer, in base64; None where the cluster gives topics none. KafkaException or TimeoutError for no answer."""
    found = str(description.result(timeout=2 * _ASK_S).topic_id)
    return None if found == _NONE else found
