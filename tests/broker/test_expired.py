"""A member that missed its polls while the group's coordinator could not be reached, and whom nobody tells of its loss.

librdkafka 2.16 takes such a member of the new protocol to have left, if a commit ends meanwhile. When it is taken in
again it goes on with what it had: no callback says that others had it in between. An assignment of nothing more stands
for the commit here, which does the same to librdkafka.
"""

from __future__ import annotations

import json
import threading
from queue import Empty

import pytest

from tests.broker.test_faults import Member, wait_for
from tests.broker.test_zombie import Stuck
from tests.clusters import PATIENCE_S, Cluster, event
from tests.proxy import Proxy

pytestmark = [pytest.mark.broker, pytest.mark.long]


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_who_was_never_told_of_its_loss_goes_on_where_the_group_is_and_does_nothing_again(
    wire: tuple[Proxy, Cluster], delivery: str
) -> None:
    proxy, cluster = wire
    topics = cluster.topics(partitions=1)
    flags = ("kafka.group_protocol=consumer", f"kafka.delivery={delivery}", "kafka.drain_deadline_s=1")
    own = ('kafka.properties."client.id"="former"', 'kafka.consumer_properties."max.poll.interval.ms"=2000')
    release = threading.Event()
    cluster.produce(topics.input, [event(number) for number in range(4)])
    with Stuck(cluster, topics, release, *flags, *own) as former:
        former.finish(former.tickets.get(timeout=PATIENCE_S), "former")
        proxy.cut_off("former")
        with Member(cluster, topics, *flags) as heir:
            for _ in range(4):
                heir.finish(heir.tickets.get(timeout=PATIENCE_S), "heir")
            wait_for(lambda: cluster.committed(topics) == {0: 4}, "the heir does it all")
        former.thread._source._member.client.incremental_assign([])
        proxy.mend(lose_heartbeat=True)
        release.set()
        wait_for(lambda: former.abandoned, "what the former owner held is void")
        cluster.produce(topics.input, [event(number) for number in range(4, 8)])
        wait_for(lambda: finish_what_comes(former) and cluster.committed(topics) == {0: 8}, "it goes on")
        seen = [json.loads(message.value() or b"") for message in cluster.read([topics.results], 8)]
    by = {outcome["source"]["offset"]: outcome["by"] for outcome in seen}
    assert [by[offset] for offset in range(8)] == ["heir"] * 4 + ["former"] * 4
    assert len(seen) == 8, "something was done again"


def finish_what_comes(member: Member) -> bool:
    try:
        while True:
            member.finish(member.tickets.get_nowait(), "former")
    except Empty:
        return True
