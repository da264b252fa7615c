"""The properties of the worker's librdkafka clients: what the settings say, and what the promises need."""

from __future__ import annotations

from typing import Any

from worker.kafka.settings import KafkaSettings

_PARTITION_FETCH_BYTES = 64 * 1024
"""Of a partition in one answer: hundreds of usual events. They are worked on before the other partitions' next ones, so
with 1 MiB, thousands of them, a partition with a backlog kept the others waiting for as long (seen in chaos)."""

_SESSION_TIMEOUT_MS = 45_000
"""The default of librdkafka's session.timeout.ms, and of the broker's for `group.protocol=consumer`."""
_HEARTBEAT_MS = {"classic": 3000, "consumer": 5000}
"""The default of librdkafka's heartbeat.interval.ms, and of the broker's."""
_POLL_INTERVAL_MS = 300_000
"""The default of max.poll.interval.ms."""
_OF_MEMBERS = {"max.poll.interval.ms", "session.timeout.ms", "heartbeat.interval.ms"}
"""What is compared with each other where a client might join a group by the classic protocol."""


BATCH_BYTES = 1_000_000
"""Of one batch for one partition: librdkafka's default. It holds 10,000 records at most."""


def patience_s(settings: KafkaSettings) -> float:
    """How long a member may stand still and still own its partitions for certain.

    The session is counted from the last heartbeat, which may have been due just then; the poll interval may be shorter.
    """
    properties = _of_the_consumer(settings)
    session_ms = float(properties.get("session.timeout.ms", _SESSION_TIMEOUT_MS))
    heartbeat_ms = float(properties.get("heartbeat.interval.ms", _HEARTBEAT_MS[settings.group_protocol]))
    return min((session_ms - heartbeat_ms) / 1000, poll_interval_s(settings))


def poll_interval_s(settings: KafkaSettings) -> float:
    """How long a member may go without a poll, heartbeats or not, and still own its partitions for certain."""
    return float(_of_the_consumer(settings).get("max.poll.interval.ms", _POLL_INTERVAL_MS)) / 1000


def _of_the_consumer(settings: KafkaSettings) -> dict[str, Any]:
    return {**settings.properties, **settings.consumer_properties}


def client_properties(settings: KafkaSettings) -> dict[str, Any]:
    """What every client of the cluster needs, an admin client included."""
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": "image-worker",
        # librdkafka's own lines would bypass the log, many a second in an outage: ClientErrors hears the same.
        "log_level": 0,
        **settings.properties,
    }


def consumer_properties(settings: KafkaSettings) -> dict[str, Any]:
    """The worker's consumer: cooperative, bounded in what it prefetches, committing nothing by itself."""
    kilobytes = max(1, settings.prefetch_bytes // 1024)
    group: dict[str, Any] = (
        {"group.protocol": "consumer"}
        if settings.group_protocol == "consumer"
        else {"partition.assignment.strategy": "cooperative-sticky"}
    )
    return {
        **client_properties(settings),
        "group.id": settings.group_id,
        **group,
        **({"group.instance.id": settings.group_instance_id} if settings.group_instance_id else {}),
        # A position that is not there any more stops the worker: it never jumps. Starts are in starts.py.
        "auto.offset.reset": "error",
        # Else librdkafka passes over what it cannot make out in a damaged batch, without a word (seen in 2.16).
        "check.crcs": True,
        # A partition that was added to the topic is found this soon; its records wait meanwhile.
        "topic.metadata.refresh.interval.ms": 30_000,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "queued.max.messages.kbytes": kilobytes,
        "queued.min.messages": max(1000, 2 * settings.max_at_work),
        "fetch.queue.backoff.ms": 100,
        # What one answer holds comes on top of what is queued. A larger record comes all the same, alone (KIP-74).
        "fetch.message.max.bytes": min(_PARTITION_FETCH_BYTES, settings.prefetch_bytes),
        "fetch.max.bytes": settings.prefetch_bytes,
        **settings.consumer_properties,
    }


def asking_properties(settings: KafkaSettings) -> dict[str, Any]:
    """A consumer that joins nothing, and asks what the group has committed. It waits for transactions that are open."""
    asking = {
        **client_properties(settings),
        "group.id": settings.group_id,
        "isolation.level": "read_committed",
        **settings.consumer_properties,
    }
    return {name: value for name, value in asking.items() if name not in _OF_MEMBERS}


def transactional_properties(settings: KafkaSettings, transactional_id: str) -> dict[str, Any]:
    """The worker's producer for exactly-once."""
    return {
        **producer_properties(settings),
        "transactional.id": transactional_id,
        "transaction.timeout.ms": round(settings.transaction_timeout_s * 1000),
        # What breaks a connection is told in the log alone (clients.Disconnects), on the level of information.
        "log_level": 6,
        "log.connection.close": True,
    }


def untransacted_properties(settings: KafkaSettings) -> dict[str, Any]:
    """The worker's producer for at-least-once.

    librdkafka's threads send what they hold as soon as a process that stood still goes on. What is older than the
    group's patience they drop instead (they look before they send): its partition may be someone else's by then.
    """
    return {
        **producer_properties(settings),
        "message.timeout.ms": round(patience_s(settings) * 1000),
        # The flush of a settlement ends the linger: until then its records gather, and leave in one batch (publisher).
        "linger.ms": 500,
        "batch.size": BATCH_BYTES,
    }


def producer_properties(settings: KafkaSettings) -> dict[str, Any]:
    """A producer: idempotent, in order, and patient through an outage."""
    return {
        **client_properties(settings),
        "enable.idempotence": True,
        "acks": "all",
        # No timeout: a record that gave up behind an outage would leave the ones after it published before it.
        "message.timeout.ms": 0,
        "message.max.bytes": settings.max_record_bytes,
        # What is handed in is bounded by what is in flight. A queue that is full first could only be waited for.
        "queue.buffering.max.messages": 0,
        "queue.buffering.max.kbytes": 2**31 - 1,
        # Keys land where Java clients put them, so that results can be joined with the topics they came from.
        "partitioner": "murmur2_random",
        # A settlement cycle flushes, which ends the linger at once; until then its records gather in one batch.
        "linger.ms": 5,
        # A topic that was deleted is noticed this soon: within a transaction nothing else asks about it.
        "topic.metadata.refresh.interval.ms": 30_000,
        # A coordinator asks for patience just after a commit: with the default a transaction takes 125 ms, so 30.
        "retry.backoff.ms": 10,
        **settings.producer_properties,
    }
