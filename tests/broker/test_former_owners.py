"""What a former owner of a partition still holds reaches no topic, and moves no offset of whoever has it by now.

That an offset stands right in the end shows nothing: one that was moved back is passed again by the next commit. So the
new owner is further by then, and the whole history of the group's offsets is read, as the brokers keep it.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.broker.test_delivery import mixed
from tests.broker.test_faults import Member, wait_for
from tests.broker.test_sent_twice import offsets
from tests.chaos.verifier import read
from tests.clusters import PATIENCE_S, Cluster, Reader, Topics, event
from tests.workers import worker_process

pytestmark = pytest.mark.broker


def assert_never_back(cluster: Cluster, topics: Topics) -> None:
    """No commit of the group was ever lower than one before it."""
    commits = offsets(read(cluster.bootstrap_servers, ["__consumer_offsets"]), topics.group)
    assert commits
    assert all(each == sorted(each) for each in commits.values()), commits


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("delivery", ["at-least-once", pytest.param("exactly-once", marks=pytest.mark.long)])
def test_the_late_result_of_a_former_owner_moves_no_offset_and_is_not_published(
    broker: Cluster, delivery: str, protocol: str
) -> None:
    topics = broker.topics(partitions=2)
    flags = (f"kafka.delivery={delivery}", f"kafka.group_protocol={protocol}", "kafka.drain_deadline_s=0.2")
    broker.produce(topics.input, [{**event(n), "partition": n % 2} for n in range(4)])
    with Member(broker, topics, *flags) as former:
        held = [former.tickets.get(timeout=PATIENCE_S) for _ in range(4)]
        with Member(broker, topics, *flags) as owner:
            taken = [owner.tickets.get(timeout=PATIENCE_S) for _ in range(2)]
            _, moved = taken[0].partition
            wait_for(lambda: len(former.abandoned) == 2, "the former owner gave the partition up")
            broker.produce(topics.input, [{**event(4), "partition": moved}])
            taken.append(owner.tickets.get(timeout=PATIENCE_S))
            for ticket in taken:
                owner.finish(ticket, "owner")
            wait_for(lambda: broker.committed(topics).get(moved) == 3, "the new owner commits more than was given up")
            for ticket in held:
                former.finish(ticket, "former")
            wait_for(lambda: void(former) == 2, "the late results are void")
            wait_for(lambda: broker.committed(topics) == {moved: 3, 1 - moved: 2}, "the kept partition is committed")
            seen = broker.read([topics.results], 5)
    assert Counter(json.loads(message.value() or b"")["by"] for message in seen) == {"owner": 3, "former": 2}
    assert_never_back(broker, topics)


def void(member: Member) -> float | None:
    return member.metrics.registry.get_sample_value("image_worker_void_outcomes_total")


def test_a_worker_that_stood_still_past_the_groups_patience_commits_nothing_it_held(
    broker: Cluster, tmp_path: Path
) -> None:
    topics = broker.topics()
    flags = broker.flags(topics)
    broker.produce(topics.input, mixed(3000))
    outputs = [topics.results, topics.dead_letters]
    with Reader(broker, outputs) as reader, worker_process(flags, tmp_path / "zombie.log") as zombie:
        reader.until(100)
        zombie.send_signal(signal.SIGSTOP)
        before = broker.committed(topics)
        with worker_process(flags, tmp_path / "heir.log"):
            reader.until_events(3000)
            broker.produce(topics.input, mixed(100))
            wait_for(lambda: broker.committed(topics) == broker.ends(topics.input), "the heir commits it all, and more")
            zombie.send_signal(signal.SIGCONT)
            broker.produce(topics.input, mixed(100))
            reader.until_events(3200)
            reader.rest()
            wait_for(lambda: broker.committed(topics) == broker.ends(topics.input), "both go on")
    assert sum(before.values()) < 3000, "the standstill came too late to show anything"
    assert len(reader.ids) == 3200
    assert all(len(ids) == 1 for ids in reader.ids.values())
    assert_never_back(broker, topics)
