"""What an error means that comes out of a poll in a message's place: go on, or stop and say why."""

from __future__ import annotations

import re

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from worker.errors import Fatal
from worker.kafka.settings import KafkaSettings

_ASK_S = 5.0
_TRUNCATED = KafkaError(KafkaError._LOG_TRUNCATION).str()
_DIVERGED = re.compile(r"at offset (\d+) .* end offset is (\d+)")
"""In librdkafka's text (2.16) of a truncation: it says where nowhere else."""

_ANOTHER_PROTOCOL = (
    "the group's other members use another protocol or assignor, or it is of another kind (share, streams): stop them "
    "first, or set kafka.group_protocol to theirs, or kafka.group_id to a group of its own"
)
_HINTS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "the cluster does not let this user read the topic: ask for READ on it",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "the cluster does not let this user join the group: ask for READ on it",
    KafkaError.FENCED_INSTANCE_ID: "another worker has taken over kafka.group_instance_id: give each its own",
    KafkaError.UNRELEASED_INSTANCE_ID: "another worker has this kafka.group_instance_id: give each its own",
    KafkaError.GROUP_ID_NOT_FOUND: "the group is not known any more, so its offsets may be gone, and a new one begins "
    "where kafka.start says: look with `image-worker offsets show`, and move it with `image-worker offsets set`; or "
    "another kind of group has this name (share, streams): set kafka.group_id to one of its own",
    KafkaError.INVALID_SESSION_TIMEOUT: "set session.timeout.ms in kafka.consumer_properties to what brokers allow: "
    "from group.min.session.timeout.ms to group.max.session.timeout.ms",
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: _ANOTHER_PROTOCOL,
    KafkaError.UNSUPPORTED_VERSION: "the cluster does not know this protocol: set kafka.group_protocol to classic",
    KafkaError._UNSUPPORTED_FEATURE: "the cluster does not know this protocol: set kafka.group_protocol to classic",
}

_MEMBER_OVER = tuple(
    f"ConsumerGroupHeartbeat fatal error: {KafkaError(code).str()}"
    for code in (KafkaError.INVALID_REQUEST, KafkaError.UNKNOWN)
)
_ID_TAKEN = KafkaError(KafkaError.UNRELEASED_INSTANCE_ID).str()


_DAMAGE = {KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError._NOT_IMPLEMENTED}
"""A checksum that is wrong; what was to be decompressed; a format that there is not."""


class Gap(Fatal):
    """The records at a position are gone. What came before it can still be settled, and is, before the worker stops."""


def is_member_over(error: KafkaError) -> bool:
    """Whether librdkafka has ended this member for a fault of its own, or of the broker's: another one can go on.

    It did not poll for too long while the coordinator was away: when it is taken in again, a heartbeat may say that it
    joins without its subscription, which no broker takes (read in 2.16; some once in an hour of chaos). And it gives up
    where the coordinator fails at a heartbeat (seen once on Apache Kafka 4.3.1, in a group of both protocols).
    """
    return error.code() == KafkaError._FATAL and any(text in error.str() for text in _MEMBER_OVER)


def is_damage(error: KafkaError) -> bool:
    """Whether a batch of records was fetched that is damaged, be it where a broker keeps it."""
    return error.code() in _DAMAGE


def is_id_taken(error: KafkaError) -> bool:
    """Whether another member has the static id of this one."""
    return error.code() == KafkaError._FATAL and _ID_TAKEN in error.str()


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
    if _TRUNCATED in error.str():
        return Gap(_truncated(settings, partition, error.str(), low))
    if offset is None or offset < 0:
        offset = consumer.position([partition])[0].offset
    return Gap(_lost(settings, partition, offset, low, high))


def _truncated(settings: KafkaSettings, partition: TopicPartition, told: str, low: int) -> str:
    """The one line: since when the log is another one, and how to do again what came in its place."""
    found = _DIVERGED.search(told)
    if found is None:
        return _way_on(settings, partition, f"the log is another one than was read: {told}", low)
    at, end = map(int, found.groups())
    what = (
        f"the group is at offset {at}, and a leader was elected that had only the records before {end}: from there on "
        "others came in their place"
    )
    return _way_on(settings, partition, what, max(low, end))


def _lost(settings: KafkaSettings, partition: TopicPartition, offset: int, low: int, high: int) -> str:
    """The one line: what is gone, and how to go on."""
    if offset < low:
        what = (
            f"the {low - offset} offsets from {offset} to {low - 1} were gone before they were read: retention "
            "overtook the group, or somebody deleted records"
        )
        return _way_on(settings, partition, what, low)
    what = (
        f"the group is at offset {offset}, and the partition ends at {high}: the topic was made again, or lost its "
        "newest records"
    )
    return _way_on(settings, partition, what, low if offset > high else high)


def _way_on(settings: KafkaSettings, partition: TopicPartition, what: str, to: int) -> str:
    where, number = f"{partition.topic}[{partition.partition}]", partition.partition
    command = f"image-worker offsets set --group {settings.group_id} --partitions {number} --to {to}"
    return f"{where}: {what}; nothing is committed for them. To go on at {to}, stop the group and run: {command}"
