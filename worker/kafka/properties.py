"""Which librdkafka properties an operator may set, and what the worker sets itself.

Every property passes through, but for those that would break a promise (an offset committed before its outcome), and
those that a setting of the worker's own already says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.kafka.settings import KafkaSettings

_OWNED = {
    "enable.auto.commit": "leave it out: the worker commits an offset only after its outcome is acknowledged",
    "enable.auto.offset.store": "leave it out: the worker commits offsets itself",
    "auto.commit.interval.ms": "leave it out: the worker commits offsets itself",
    "bootstrap.servers": "write kafka.bootstrap_servers",
    "metadata.broker.list": "write kafka.bootstrap_servers",
    "group.id": "write kafka.group_id",
    "group.protocol": "write kafka.group_protocol",
    "auto.offset.reset": "write kafka.start",
    "partition.assignment.strategy": "leave it out: the worker needs cooperative-sticky to drain what it gives up",
    "enable.idempotence": "leave it out: without it a retry can repeat and reorder outcomes",
    "acks": "leave it out: the worker needs all in-sync replicas to acknowledge an outcome",
    "request.required.acks": "leave it out: the worker needs all in-sync replicas to acknowledge an outcome",
    "message.timeout.ms": "leave it out: an outcome waits for the broker, in order, however long an outage lasts",
    "delivery.timeout.ms": "leave it out: an outcome waits for the broker, in order, however long an outage lasts",
    "retries": "leave it out: an outcome is retried until the broker has it",
    "message.send.max.retries": "leave it out: an outcome is retried until the broker has it",
    "transactional.id": "leave it out: delivery is at-least-once",
    "isolation.level": "leave it out: events of aborted transactions never happened",
    "queued.max.messages.kbytes": "write kafka.prefetch_bytes",
    "fetch.message.max.bytes": "write kafka.max_record_bytes",
    "max.partition.fetch.bytes": "write kafka.max_record_bytes",
    "message.max.bytes": "write kafka.max_record_bytes",
    "enable.partition.eof": "leave it out: the worker waits at the end of a partition",
    "test.mock.num.brokers": "leave it out: use `image-worker demo` for an embedded cluster",
}


def check_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties as they are; raise ValueError for one that would break a promise."""
    for name in properties:
        if name in _OWNED:
            raise ValueError(f"the librdkafka property {name!r} may not be set here: {_OWNED[name]}")
    return dict(properties)


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
        "auto.offset.reset": settings.start,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "queued.max.messages.kbytes": kilobytes,
        "queued.min.messages": max(1000, 2 * settings.max_in_flight),
        "fetch.queue.backoff.ms": 100,
        "fetch.message.max.bytes": min(settings.max_record_bytes, settings.prefetch_bytes),
        **settings.consumer_properties,
    }


def producer_properties(settings: KafkaSettings) -> dict[str, Any]:
    """The worker's producer: idempotent, in order, and patient through an outage."""
    return {
        **client_properties(settings),
        "enable.idempotence": True,
        "acks": "all",
        # No timeout: a record that gave up behind an outage would leave the ones after it published before it.
        "message.timeout.ms": 0,
        "message.max.bytes": settings.max_record_bytes,
        # Keys land where Java clients put them, so that results can be joined with the topics they came from.
        "partitioner": "murmur2_random",
        # A settlement cycle flushes, which ends the linger at once; until then its records gather in one batch.
        "linger.ms": 5,
        "retry.backoff.ms": 10,
        **settings.producer_properties,
    }
