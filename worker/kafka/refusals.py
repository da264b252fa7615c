"""What an error in a delivery report means: send the outcome again, put a dead letter in its place, or stop.

The table has every code that the client knows, and a test keeps it so: of a code that a newer client brings, somebody
decides. Until then such a code stops the worker. To send again what is refused for good would be to stand still without
a word, and a dead letter would blame a record for what may be no fault of its own: a stop says what happened, commits
nothing, and whoever starts the worker again has it tried again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from confluent_kafka import KafkaError

from worker.errors import Fatal, Reason
from worker.kafka.deadletter import DeadLetters
from worker.kafka.ledger import Ticket
from worker.records import Outcome


class Verdict(Enum):
    """What to do."""

    AGAIN = auto()
    """By a new producer, or in the next transaction, as long as the record is still ours."""
    BLAME = auto()
    """A record of the batch is refused for what it is: sent alone, to see which; a dead letter in its place."""
    STOP = auto()


@dataclass(frozen=True, slots=True)
class Meaning:
    """Of some codes."""

    verdict: Verdict
    names: str
    """As they are called in KafkaError."""
    hint: str = "see the broker's log"
    """For the operator; of AGAIN, which nobody is told of, why it is so."""


_TABLE = (
    Meaning(
        Verdict.AGAIN,
        "_MSG_TIMED_OUT _TIMED_OUT _TIMED_OUT_QUEUE _TRANSPORT _FAIL _SSL _RESOLVE _ALL_BROKERS_DOWN _ISR_INSUFF "
        "_RETRY _WAIT_COORD _WAIT_CACHE _DESTROY_BROKER _OUTDATED REQUEST_TIMED_OUT NETWORK_EXCEPTION INVALID_MSG "
        "LEADER_NOT_AVAILABLE NOT_LEADER_FOR_PARTITION BROKER_NOT_AVAILABLE REPLICA_NOT_AVAILABLE LISTENER_NOT_FOUND "
        "FENCED_LEADER_EPOCH UNKNOWN_LEADER_EPOCH NOT_ENOUGH_REPLICAS NOT_ENOUGH_REPLICAS_AFTER_APPEND "
        "KAFKA_STORAGE_ERROR THROTTLING_QUOTA_EXCEEDED UNKNOWN_TOPIC_ID INCONSISTENT_TOPIC_ID REBOOTSTRAP_REQUIRED",
        "an outage, or leaders that move: librdkafka tries by itself, and reports them where its patience has an end",
    ),
    Meaning(
        Verdict.AGAIN,
        "_PURGE_QUEUE _PURGE_INFLIGHT _STATE _FENCED _FATAL PRODUCER_FENCED INVALID_PRODUCER_EPOCH UNKNOWN_PRODUCER_ID "
        "INVALID_PRODUCER_ID_MAPPING OUT_OF_ORDER_SEQUENCE_NUMBER DUPLICATE_SEQUENCE_NUMBER INVALID_TXN_STATE "
        "CONCURRENT_TRANSACTIONS TRANSACTION_ABORTABLE TRANSACTION_COORDINATOR_FENCED COORDINATOR_LOAD_IN_PROGRESS "
        "COORDINATOR_NOT_AVAILABLE NOT_COORDINATOR",
        "the producer or its transaction is over: if for good, the next call says so, and why",
    ),
    Meaning(Verdict.BLAME, "MSG_SIZE_TOO_LARGE RECORD_LIST_TOO_LARGE", "raise max.message.bytes or segment.bytes"),
    Meaning(Verdict.BLAME, "INVALID_RECORD", "a compacted topic needs a key in every event"),
    Meaning(Verdict.BLAME, "INVALID_TIMESTAMP", "see the topic's message.timestamp settings"),
    Meaning(Verdict.BLAME, "_INVALID_DIFFERENT_RECORD"),
    Meaning(Verdict.STOP, "TOPIC_AUTHORIZATION_FAILED", "ask for WRITE on the topic"),
    Meaning(Verdict.STOP, "CLUSTER_AUTHORIZATION_FAILED", "ask for IDEMPOTENT_WRITE on the cluster"),
    Meaning(
        Verdict.STOP, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "ask for WRITE and DESCRIBE on the transactional id"
    ),
    Meaning(Verdict.STOP, "UNKNOWN_TOPIC_OR_PART _UNKNOWN_TOPIC _UNKNOWN_PARTITION", "create the topic"),
    Meaning(Verdict.STOP, "_DESTROY", "the topic was deleted: create the topic again"),
    Meaning(Verdict.STOP, "TOPIC_EXCEPTION", "Kafka takes no such name: see kafka.topics and policy.topics"),
    Meaning(Verdict.STOP, "INVALID_REQUIRED_ACKS", "take acks out of kafka.producer_properties"),
    Meaning(Verdict.STOP, "_GAPLESS_GUARANTEE", "take enable.gapless.guarantee out of kafka.producer_properties"),
    Meaning(
        Verdict.STOP,
        "UNSUPPORTED_COMPRESSION_TYPE _BAD_COMPRESSION",
        "see kafka.producer_properties: compression.type",
    ),
    Meaning(
        Verdict.STOP,
        "UNSUPPORTED_FOR_MESSAGE_FORMAT UNSUPPORTED_VERSION _UNSUPPORTED_FEATURE",
        "the brokers, or the topic's message format, are too old: raise them",
    ),
    # No answer to a produced record has one of these, as far as librdkafka's and Kafka's sources tell: they are of
    # other requests, of reading, or of a fault in the client. What they would mean here nobody knows.
    Meaning(
        Verdict.STOP,
        "UNKNOWN NO_ERROR _BAD_MSG _CRIT_SYS_RESOURCE _PARTITION_EOF _FS _INVALID_ARG _QUEUE_FULL _NODE_UPDATE "
        "_UNKNOWN_GROUP _IN_PROGRESS _PREV_IN_PROGRESS _EXISTING_SUBSCRIPTION _ASSIGN_PARTITIONS _REVOKE_PARTITIONS "
        "_CONFLICT _UNKNOWN_PROTOCOL _NOT_IMPLEMENTED _AUTHENTICATION _NO_OFFSET _INTR _KEY_SERIALIZATION "
        "_VALUE_SERIALIZATION _KEY_DESERIALIZATION _VALUE_DESERIALIZATION _PARTIAL _READ_ONLY _NOENT _UNDERFLOW "
        "_INVALID_TYPE _INCONSISTENT _MAX_POLL_EXCEEDED _UNKNOWN_BROKER _NOT_CONFIGURED _APPLICATION _ASSIGNMENT_LOST "
        "_NOOP _AUTO_OFFSET_RESET _LOG_TRUNCATION OFFSET_OUT_OF_RANGE INVALID_MSG_SIZE STALE_CTRL_EPOCH "
        "OFFSET_METADATA_TOO_LARGE ILLEGAL_GENERATION INCONSISTENT_GROUP_PROTOCOL INVALID_GROUP_ID UNKNOWN_MEMBER_ID "
        "INVALID_SESSION_TIMEOUT REBALANCE_IN_PROGRESS INVALID_COMMIT_OFFSET_SIZE GROUP_AUTHORIZATION_FAILED "
        "UNSUPPORTED_SASL_MECHANISM ILLEGAL_SASL_STATE TOPIC_ALREADY_EXISTS INVALID_PARTITIONS "
        "INVALID_REPLICATION_FACTOR INVALID_REPLICA_ASSIGNMENT INVALID_CONFIG NOT_CONTROLLER INVALID_REQUEST "
        "POLICY_VIOLATION INVALID_TRANSACTION_TIMEOUT SECURITY_DISABLED OPERATION_NOT_ATTEMPTED LOG_DIR_NOT_FOUND "
        "SASL_AUTHENTICATION_FAILED REASSIGNMENT_IN_PROGRESS DELEGATION_TOKEN_AUTH_DISABLED DELEGATION_TOKEN_NOT_FOUND "
        "DELEGATION_TOKEN_OWNER_MISMATCH DELEGATION_TOKEN_REQUEST_NOT_ALLOWED DELEGATION_TOKEN_AUTHORIZATION_FAILED "
        "DELEGATION_TOKEN_EXPIRED INVALID_PRINCIPAL_TYPE NON_EMPTY_GROUP GROUP_ID_NOT_FOUND FETCH_SESSION_ID_NOT_FOUND "
        "INVALID_FETCH_SESSION_EPOCH TOPIC_DELETION_DISABLED STALE_BROKER_EPOCH OFFSET_NOT_AVAILABLE "
        "MEMBER_ID_REQUIRED PREFERRED_LEADER_NOT_AVAILABLE GROUP_MAX_SIZE_REACHED FENCED_INSTANCE_ID "
        "ELIGIBLE_LEADERS_NOT_AVAILABLE ELECTION_NOT_NEEDED NO_REASSIGNMENT_IN_PROGRESS GROUP_SUBSCRIBED_TO_TOPIC "
        "UNSTABLE_OFFSET_COMMIT RESOURCE_NOT_FOUND DUPLICATE_RESOURCE UNACCEPTABLE_CREDENTIAL INCONSISTENT_VOTER_SET "
        "INVALID_UPDATE_VERSION FEATURE_UPDATE_FAILED PRINCIPAL_DESERIALIZATION_FAILURE FENCED_MEMBER_EPOCH "
        "UNRELEASED_INSTANCE_ID UNSUPPORTED_ASSIGNOR STALE_MEMBER_EPOCH MISMATCHED_ENDPOINT_TYPE "
        "UNSUPPORTED_ENDPOINT_TYPE UNKNOWN_CONTROLLER_ID UNKNOWN_SUBSCRIPTION_ID TELEMETRY_TOO_LARGE "
        "INVALID_REGISTRATION INVALID_RECORD_STATE SHARE_SESSION_NOT_FOUND INVALID_SHARE_SESSION_EPOCH "
        "FENCED_STATE_EPOCH INVALID_VOTER_KEY DUPLICATE_VOTER VOTER_NOT_FOUND INVALID_REGULAR_EXPRESSION "
        "STREAMS_INVALID_TOPOLOGY STREAMS_INVALID_TOPOLOGY_EPOCH STREAMS_TOPOLOGY_FENCED SHARE_SESSION_LIMIT_REACHED",
    ),
)

_UNKNOWN = Meaning(Verdict.STOP, "")
_BY_CODE = {getattr(KafkaError, name): meaning for meaning in _TABLE for name in meaning.names.split()}

_OUR_REASONS = {Reason.OUTCOME_TOO_LARGE, Reason.OUTCOME_REFUSED}


def verdict(error: KafkaError) -> Verdict:
    """What is to be done about an outcome that was not taken.

    The whole batch is refused with a record that is to blame, and librdkafka blames every record there, or, where
    several are to blame, the others with _INVALID_DIFFERENT_RECORD. Only of one that was sent alone it is certain.
    """
    return _meaning(error).verdict


def instead(ticket: Ticket, error: KafkaError, dead_letters: DeadLetters) -> Outcome:
    """The dead letter in the place of an outcome that was refused for what it is. Fatal where it is one already."""
    assert ticket.outcome is not None
    if ticket.outcome.reason in _OUR_REASONS:
        raise never_published(ticket, error)
    if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
        return dead_letters.without_value(ticket.record)
    topic = ticket.outcome.record.topic
    return dead_letters.without_timestamp(ticket.record, f"topic {topic}: {error.str()}: {_meaning(error).hint}")


def never_published(ticket: Ticket, error: KafkaError) -> Fatal:
    """The end of the worker: this outcome cannot be published, and neither can those after it."""
    assert ticket.outcome is not None
    return Fatal(
        f"Kafka refused a record for topic {ticket.outcome.record.topic!r}: {error.str()} ({error.name()}): "
        f"{_meaning(error).hint}; its event is not committed and will be done again"
    )


def never_again(error: KafkaError) -> Fatal:
    """The end of the worker: its producer has failed for good, and another one would too."""
    return Fatal(
        f"Kafka lets this worker publish nothing: {error.str()} ({error.name()}): {_meaning(error).hint}; "
        "what was not committed will be done again"
    )


def _meaning(error: KafkaError) -> Meaning:
    return _BY_CODE.get(error.code(), _UNKNOWN)
