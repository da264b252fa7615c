"""What an error means that comes out of a poll in a message's place: go on, or stop and say why."""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from worker.errors import Fatal
from worker.kafka.settings import KafkaSettings

_ASK_S = 5.0

_ANOTHER_PROTOCOL = (
    "the group's other members use another protocol or assignor: stop them first, or set kafka.group_protocol to "
    "theirs, or kafka.group_id to a group of its own"
)
_HINTS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "the cluster does not let this user read the topic: ask for READ on it",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "the cluster does not let this user join the group: ask for READ on it",
    KafkaError.FENCED_INSTANCE_ID: "another worker has taken over kafka.group_instance_id: give each its own",
    KafkaError.UNRELEASED_INSTANCE_ID: "another worker has this kafka.group_instance_id: give each its own, or wait "
    "until the session of one that died has ended",
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: _ANOTHER_PROTOCOL,
    KafkaError.UNSUPPORTED_VERSION: "the cluster does not know this protocol: set kafka.group_protocol to classic",
    KafkaError._UNSUPPORTED_FEATURE: "the cluster does not know this protocol: set kafka.group_protocol to classic",
}


class Gap(Fatal):
    """The records at a position are gone. What came before it can still be settled, and is, before the worker stops."""


def fatal(settings: KafkaSettings, consumer: Consumer, message: Message) -> Fatal | None:
    """Why the worker must stop for the error that this message holds; None where it need not."""
    error = message.error()
    assert error is not None
    if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION):
        return _gap(settings, consumer, message, error)
    if error.code() in _HINTS or error.code() == KafkaError._FATAL or error.fatal():
        return Fatal(f"Kafka: {error.str()} ({error.name()}): {_hint(error)}")
    return None


def _hint(error: KafkaError) -> str:
    """What to do. A fatal error has the code of being fatal, and the broker's reason in its text."""
    if error.code() in _HINTS:
        return _HINTS[error.code()]
    reasons = (hint for code, hint in _HINTS.items() if KafkaError(code).str() in error.str())
    return next(reasons, "the consumer cannot go on")


def _gap(settings: KafkaSettings, consumer: Consumer, message: Message, error: KafkaError) -> Fatal:
    partition = TopicPartition(message.topic() or "", message.partition() or 0)
    where, offset = f"{partition.topic}[{partition.partition}]", message.offset()
    try:
        low, high = consumer.get_watermark_offsets(partition, timeout=_ASK_S)
    except KafkaException:
        return Fatal(f"{where}: the records to read next are gone: {error.str()}; nothing was committed for them")
    if offset is None or offset < 0:
        offset = consumer.position([partition])[0].offset
    return Gap(_lost(settings, partition, offset, low, high))


def _lost(settings: KafkaSettings, partition: TopicPartition, offset: int, low: int, high: int) -> str:
    """The one line: what is gone, and how to go on."""
    where = f"{partition.topic}[{partition.partition}]"
    if offset < low:
        what = (
            f"{where}: the {low - offset} offsets from {offset} to {low - 1} were gone before they were read: "
            "retention overtook the group, or somebody deleted records"
        )
        to = low
    else:
        what = (
            f"{where}: the group is at offset {offset}, and the partition ends at {high}: the topic was made again, or "
            "lost its newest records"
        )
        to = low if offset > high else high
    command = f"image-worker offsets set --group {settings.group_id} --partitions {partition.partition} --to {to}"
    return f"{what}; nothing is committed for them. To go on at {to}, stop the group and run: {command}"
