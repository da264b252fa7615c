"""What an error of a transactional producer means, where librdkafka tells of none."""

from __future__ import annotations

import pytest

from worker.kafka.settings import KafkaSettings
from worker.kafka.transactions import Aborted, Phase, Transactions


def test_an_error_that_was_lost_on_the_way_aborts_and_the_next_call_says_what_it_was() -> None:
    transactions = Transactions(KafkaSettings(bootstrap_servers="127.0.0.1:9"), "an id")
    transactions.phase = Phase.OPEN

    def flush(_deadline_s: float) -> None:
        raise SystemError("<method 'flush' of 'cimpl.Producer' objects> returned NULL without setting an exception")

    transactions.publisher.flush = flush  # type: ignore[method-assign]
    with pytest.raises(Aborted, match="an error of the producer was lost"):
        transactions.flush(0.0)
    transactions.give_up()
    assert transactions.phase is Phase.ABORTING
