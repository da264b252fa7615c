"""What an error in a delivery report means: each code that the client knows has its verdict, on purpose."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from worker.kafka.refusals import _TABLE, Verdict, verdict

CODES = [name for name in dir(KafkaError) if name.isupper() and isinstance(getattr(KafkaError, name), int)]


def test_each_code_that_the_client_knows_is_in_the_table_once() -> None:
    listed = [name for meaning in _TABLE for name in meaning.names.split()]
    assert sorted(listed) == sorted(CODES)


@pytest.mark.parametrize(
    ("codes", "meant"),
    [
        ("_MSG_TIMED_OUT NOT_ENOUGH_REPLICAS_AFTER_APPEND KAFKA_STORAGE_ERROR", Verdict.AGAIN),
        ("_FENCED TRANSACTION_ABORTABLE OUT_OF_ORDER_SEQUENCE_NUMBER", Verdict.AGAIN),
        ("MSG_SIZE_TOO_LARGE RECORD_LIST_TOO_LARGE INVALID_RECORD INVALID_TIMESTAMP", Verdict.BLAME),
        ("TOPIC_AUTHORIZATION_FAILED _UNKNOWN_TOPIC TOPIC_EXCEPTION POLICY_VIOLATION UNKNOWN", Verdict.STOP),
    ],
)
def test_an_outage_a_record_to_blame_and_what_is_for_good_are_told_apart(codes: str, meant: Verdict) -> None:
    assert {verdict(KafkaError(getattr(KafkaError, code))) for code in codes.split()} == {meant}


def test_a_code_that_nobody_has_decided_about_stops_the_worker() -> None:
    assert verdict(KafkaError(9999)) is Verdict.STOP
