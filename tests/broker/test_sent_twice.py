"""A request that librdkafka sends again, since its connection broke, while the first one is on its way to the broker.

Of a transaction's end the first ends the next transaction when it comes (seen on Apache Kafka 4.3.1).
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.broker.bench import Bench, bench, passed
from tests.broker.test_faults import wait_for
from tests.clusters import Cluster, event
from tests.proxy import Proxy
from worker.kafka.ledger import Partition, Position, Settlement

pytestmark = pytest.mark.broker

NAME = 'kafka.properties."client.id"="once"'


def settled(whole: Bench) -> None:
    settlement = whole.settlement()
    wait_for(lambda: whole.settle(settlement, whole.ledger.positions), "it is settled")
    whole.ledger.settled(settlement)


def test_an_old_commit_that_comes_late_publishes_nothing_of_the_next_transaction(wire: tuple[Proxy, Cluster]) -> None:
    proxy, cluster = wire
    with bench(cluster, NAME) as whole:
        proxy.delay_end("once")
        settled(whole)
        cluster.produce(whole.topics.input, [event(1)])
        settlement = whole.settlement()
        asked = []

        def positions(settlement: Settlement) -> Mapping[Partition, Position]:
            asked.append(1)
            if len(asked) == 1:
                return whole.ledger.positions(settlement)
            proxy.deliver()  # the outcome is published, its offset is not sent
            return {}

        wait_for(lambda: whole.settle(settlement, positions), "what a rebalance took is aborted")
        assert len(passed(whole)) == 1, "half a transaction was committed"
        assert cluster.committed(whole.topics) == {0: 1}
