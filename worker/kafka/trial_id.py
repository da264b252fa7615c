"""Whether the cluster gives transactional ids: tried with one that nobody has, so that it fences no worker."""

from __future__ import annotations

import socket
import uuid

from confluent_kafka import KafkaError, KafkaException, Producer

from worker.kafka.clients import ClientErrors, open_client
from worker.kafka.properties import transactional_properties
from worker.kafka.settings import KafkaSettings
from worker.kafka.topics import Finding
from worker.kafka.transactions import HINTS, LOOK_AT

_TIMEOUT_S = 10.0
_SUBJECT = "transactions"


def try_id(settings: KafkaSettings) -> Finding:
    """Blocks for up to ten seconds. The cluster keeps the id for some days (`transactional.id.expiration.ms`)."""
    # The beginning is that of the worker's own: it may be what this user has rights to.
    stem = settings.transactional_id or f"{settings.group_id}-{socket.gethostname()}"
    properties = transactional_properties(settings, f"{stem}-check-{uuid.uuid4().hex[:8]}")
    errors = ClientErrors("check")
    producer = open_client(Producer, {**properties, "log_level": 0}, errors)
    try:
        producer.init_transactions(_TIMEOUT_S)
    except KafkaException as exception:
        producer.poll(0)
        return _failed(exception.args[0], settings.transactional_id, errors.newest)
    return Finding(_SUBJECT, "the cluster gives transactional ids")


def _failed(error: KafkaError, transactional_id: str | None, newest: str) -> Finding:
    if error.retriable():
        why = newest or "no coordinator answers"
        return Finding(_SUBJECT, f"no transactional id in {_TIMEOUT_S:.0f} s: {why}", LOOK_AT)
    if error.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED and transactional_id is not None:
        return Finding(_SUBJECT, f"whether this user may use {transactional_id!r} shows when the worker runs")
    return Finding(_SUBJECT, error.str(), HINTS.get(error.code(), "see the broker's log"))
