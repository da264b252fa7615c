"""Which librdkafka properties an operator may not set.

Every property passes through, but for those that would break a promise (an offset committed before its outcome), and
those that a setting of the worker's own already says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OWNED = {
    "enable.auto.commit": "leave it out: the worker commits an offset only after its outcome is acknowledged",
    "enable.auto.offset.store": "leave it out: the worker commits offsets itself",
    "auto.commit.interval.ms": "leave it out: the worker commits offsets itself",
    "bootstrap.servers": "write kafka.bootstrap_servers",
    "metadata.broker.list": "write kafka.bootstrap_servers",
    "group.id": "write kafka.group_id",
    "group.protocol": "write kafka.group_protocol",
    "group.instance.id": "write kafka.group_instance_id",
    "auto.offset.reset": "write kafka.start",
    "partition.assignment.strategy": "leave it out: the worker needs cooperative-sticky to drain what it gives up",
    "enable.idempotence": "leave it out: without it a retry can repeat and reorder outcomes",
    "acks": "leave it out: the worker needs all in-sync replicas to acknowledge an outcome",
    "request.required.acks": "leave it out: the worker needs all in-sync replicas to acknowledge an outcome",
    "message.timeout.ms": "leave it out: an outcome waits for the broker, in order, however long an outage lasts",
    "delivery.timeout.ms": "leave it out: an outcome waits for the broker, in order, however long an outage lasts",
    "retries": "leave it out: an outcome is retried until the broker has it",
    "message.send.max.retries": "leave it out: an outcome is retried until the broker has it",
    "linger.ms": "leave it out: the worker says when records leave",
    "queue.buffering.max.ms": "leave it out: the worker says when records leave",
    "batch.size": "leave it out: of each partition the worker has one batch under way, to keep the order",
    "batch.num.messages": "leave it out: of each partition the worker has one batch under way, to keep the order",
    "queue.buffering.max.messages": "write kafka.max_in_flight: outcomes wait in the queue while an outage lasts",
    "queue.buffering.max.kbytes": "write kafka.max_in_flight_bytes: outcomes wait in the queue while an outage lasts",
    "transactional.id": "write kafka.transactional_id",
    "transaction.timeout.ms": "write kafka.transaction_timeout_s",
    "isolation.level": "leave it out: events of aborted transactions never happened",
    "queued.max.messages.kbytes": "write kafka.prefetch_bytes",
    "fetch.message.max.bytes": "write kafka.prefetch_bytes",
    "fetch.max.bytes": "write kafka.prefetch_bytes",
    "max.partition.fetch.bytes": "write kafka.prefetch_bytes",
    "message.max.bytes": "write kafka.max_record_bytes",
    "check.crcs": "leave it out: the worker has checksums compared, so that it passes over no damaged record",
    "enable.partition.eof": "leave it out: the worker waits at the end of a partition",
    "test.mock.num.brokers": "leave it out: use `image-worker demo` for an embedded cluster",
}


def check_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties as they are; raise ValueError for one that would break a promise."""
    for name in properties:
        if name in _OWNED:
            raise ValueError(f"the librdkafka property {name!r} may not be set here: {_OWNED[name]}")
    return dict(properties)
