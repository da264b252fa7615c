"""What a broker's refusal of an outcome means: a dead letter in its place, or the end of the worker."""

from __future__ import annotations

from confluent_kafka import KafkaError

from worker.errors import Fatal, Reason
from worker.kafka.deadletter import DeadLetters
from worker.kafka.ledger import Ticket
from worker.records import Outcome

_HINTS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "ask for WRITE on the topic",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "ask for IDEMPOTENT_WRITE on the cluster",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "create the topic",
    KafkaError._UNKNOWN_TOPIC: "create the topic",
    KafkaError._UNKNOWN_PARTITION: "create the topic",
    KafkaError._DESTROY: "the topic was deleted: create the topic again",
    KafkaError.INVALID_RECORD: "a compacted topic needs a key in every event",
}

_THE_RECORDS_FAULT = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.INVALID_TIMESTAMP}

_OUR_REASONS = {Reason.OUTCOME_TOO_LARGE, Reason.OUTCOME_REFUSED}


def is_for_what_it_is(error: KafkaError) -> bool:
    """Whether a record, or another in its batch, is refused for what it is.

    The whole batch is refused with such a record, and librdkafka blames every record there, or, where several are to
    blame, the others with _INVALID_DIFFERENT_RECORD. Only of one that was sent alone it is certain.
    """
    return error.code() in _THE_RECORDS_FAULT or error.code() == KafkaError._INVALID_DIFFERENT_RECORD


def instead(ticket: Ticket, error: KafkaError, dead_letters: DeadLetters) -> Outcome:
    """The dead letter in the place of an outcome that was refused for what it is. Fatal where it is one already."""
    assert ticket.outcome is not None
    if ticket.outcome.reason in _OUR_REASONS:
        raise never_published(ticket, error)
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return dead_letters.without_value(ticket.record)
    hint = _HINTS.get(error.code(), "see the topic's message.timestamp settings")
    topic = ticket.outcome.record.topic
    return dead_letters.without_timestamp(ticket.record, f"topic {topic}: {error.str()}: {hint}")


def never_published(ticket: Ticket, error: KafkaError) -> Fatal:
    """The end of the worker: this outcome cannot be published, and neither can those after it."""
    assert ticket.outcome is not None
    hint = _HINTS.get(error.code(), "see the broker's log")
    return Fatal(
        f"Kafka refused a record for topic {ticket.outcome.record.topic!r}: {error.str()} ({error.name()}): {hint}; "
        "its event is not committed and will be done again"
    )
