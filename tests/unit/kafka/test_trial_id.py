"""What a look at transactions finds, where the cluster gives no id."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from worker.kafka.trial_id import _failed

FORBIDDEN = KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, fatal=True)
LATE = KafkaError(KafkaError._TIMED_OUT, "Timed out", retriable=True)


@pytest.mark.parametrize(
    ("error", "newest", "result", "remedy"),
    [
        (LATE, "", "in 10 s: no coordinator answers", "transaction.state.log.replication.factor"),
        (LATE, "Connection refused", "Connection refused", "transaction.state.log.min.isr"),
        (FORBIDDEN, "", "authorization failed", "WRITE and DESCRIBE on the transactional id"),
        (KafkaError(KafkaError.INVALID_TRANSACTION_TIMEOUT), "", "timeout", "lower kafka.transaction_timeout_s"),
        (KafkaError(KafkaError.UNKNOWN), "", "", "see the broker's log"),
    ],
)
def test_it_says_what_is_wrong_and_what_to_do(error: KafkaError, newest: str, result: str, remedy: str) -> None:
    found = _failed(error, None, newest)
    assert result in found.result
    assert remedy in found.remedy


def test_rights_on_the_one_id_that_is_set_are_not_known_from_another_one() -> None:
    found = _failed(FORBIDDEN, "mine", "")
    assert found.remedy == ""
    assert "'mine' shows when the worker runs" in found.result
