"""What is asked before a group is joined, of brokers that are away or have moved what they are asked about.

`pytest -m long tests/broker/test_patience.py` has an outage that is longer than whoever is at a terminal waits, and
librdkafka's own fault.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from typing import Any

import pytest
from structlog.typing import EventDict

from tests.broker.test_faults import wait_for
from tests.clusters import PATIENCE_S, Cluster, Topics, event
from tests.kafka_server import RealKafka
from tests.leaders import elect_preferred, leaders, prefer_others
from tests.replays import job
from worker.errors import Fatal
from worker.kafka.groups import GroupLook
from worker.kafka.ledger import Position
from worker.kafka.offsets import Extent, TopicOffsets
from worker.kafka.patience import AT_A_TERMINAL_S
from worker.replay.derive import derived
from worker.replay.request import Request

pytestmark = pytest.mark.broker

OFFSETS = "__consumer_offsets"
ABORTS = """
import sys
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
admin = AdminClient({"bootstrap.servers": sys.argv[1], "log_level": 0})
print("ready", flush=True)
sys.stdin.readline()
try:
    admin.describe_consumer_groups(["any"], request_timeout=1.0)["any"].result()
except KafkaException as error:
    print(error, flush=True)
admin.list_topics(timeout=60)
sys.stdin.readline()
"""


@pytest.fixture
def both(pair: RealKafka) -> Cluster:
    return Cluster(pair.bootstrap_servers, real=True)


@pytest.fixture
def one(both: Cluster) -> Topics:
    """Topics of one partition, with a record; the group's coordinator is there."""
    topics = both.topics(partitions=1)
    both.produce(topics.input, [event(0)])
    wait_for(lambda: answers(both, topics), "the group has a coordinator")
    return topics


def answers(cluster: Cluster, topics: Topics) -> bool:
    try:
        return GroupLook(cluster.settings(topics).kafka, topics.group).committed(topics.input, [0]) == {}
    except Fatal:
        return False


class Outage:
    """All brokers die, and come back after some seconds."""

    def __init__(self, kafka: RealKafka, seconds: float) -> None:
        self._kafka = kafka
        self._back = threading.Timer(seconds, self._mend)

    def __enter__(self) -> None:
        for broker in self._kafka.brokers:
            broker.kill()
        self._back.start()

    def __exit__(self, *_: object) -> None:
        self._back.join()
        assert self._kafka.answers()

    def _mend(self) -> None:
        for number in range(len(self._kafka.brokers)):
            self._kafka.restart(number)


def test_a_group_whose_coordinator_moved_is_asked_of_the_new_one(both: Cluster, pair: RealKafka, one: Topics) -> None:
    """An AdminClient of librdkafka 2.16 asks the old one on and on, which says that it is not the coordinator."""
    look = GroupLook(both.settings(one).kafka, one.group)
    assert not look.membership().exists
    before = leaders(both, [OFFSETS])
    prefer_others(pair, both, [OFFSETS])
    elect_preferred(both, [OFFSETS])
    assert all(leaders(both, [OFFSETS])[each] != before[each] for each in before)
    assert not look.membership().exists
    assert look.committed(one.input, [0]) == {}
    prefer_others(pair, both, [OFFSETS])
    elect_preferred(both, [OFFSETS])
    look.set(one.input, {0: Position(1)})
    assert both.committed(one) == {0: 1}


def test_offsets_of_a_broker_that_says_nothing_are_waited_for_and_never_made_up(
    both: Cluster, pair: RealKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """librdkafka 2.16 has -1001 for them, and no error."""
    monkeypatch.setattr("worker.kafka.offsets._TIMEOUT_S", 1.0)
    topics = both.topics(partitions=4)
    both.produce(topics.input, [{**event(n), "partition": n} for n in range(4)])
    settings = both.settings(topics).kafka
    patient, soon = (TopicOffsets(settings, topics.input, patience_s=seconds) for seconds in (120.0, 0.0))
    assert set(leaders(both, [topics.input]).values()) == {1, 2}
    silent = pair.brokers[1]
    silent.signal(signal.SIGSTOP)
    back = threading.Timer(2.0, silent.signal, [signal.SIGCONT])
    try:
        with pytest.raises(Fatal, match=f"the offsets of topic {topics.input} cannot be had"):
            soon.extents()
        back.start()
        assert patient.extents() == dict.fromkeys(range(4), Extent(0, 1, 1))
    finally:
        silent.signal(signal.SIGCONT)
        back.join()


@pytest.mark.long
def test_a_client_of_librdkafka_ends_its_process_whose_request_had_no_coordinator_in_time(
    both: Cluster, pair: RealKafka, one: Topics
) -> None:
    """This is why the worker gives its requests time without end. Where this test fails, it need not."""
    client = subprocess.Popen(
        [sys.executable, "-c", ABORTS, both.bootstrap_servers],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with client:
        assert client.stdin is not None
        assert client.stdout is not None
        assert client.stderr is not None
        assert client.stdout.readline() == "ready\n"
        with Outage(pair, 3.0):
            client.stdin.write("\n")
            client.stdin.flush()
            assert "_TIMED_OUT" in client.stdout.readline()
        assert client.wait(PATIENCE_S) == -signal.SIGABRT
        assert "eonce->refcnt > 0" in client.stderr.read()


def test_brokers_that_are_away_are_asked_again(
    both: Cluster, pair: RealKafka, one: Topics, logs: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.kafka.groups.ANSWER_S", 1.0)
    settings = both.settings(one).kafka
    topic, group = TopicOffsets(settings, one.input, patience_s=120.0), GroupLook(settings, one.group, 120.0)
    group.membership()
    with Outage(pair, 3.0):
        assert not group.membership().exists
        assert topic.extents()[0].high == 1
        assert group.committed(one.input, [0]) == {}
    assert [line["next"] for line in logs if line["event"] == "kafka.asks_again"][:1] == ["ask again for up to 120 s"]


@pytest.mark.long
def test_the_topics_id_is_asked_for_over_an_outage(
    both: Cluster, pair: RealKafka, one: Topics, logs: list[EventDict]
) -> None:
    topic = TopicOffsets(both.settings(one).kafka, one.input, patience_s=120.0)
    known = topic.topic_id()
    assert known is not None
    with Outage(pair, 3.0):
        assert topic.topic_id() == known
    assert [line["event"] for line in logs if line["event"] == "kafka.asks_again"]


@pytest.mark.long
def test_a_replay_that_begins_in_a_long_outage_waits_for_its_end(
    both: Cluster, pair: RealKafka, one: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = ExitStack()

    def die_and_derive(*arguments: Any, **more: Any) -> Any:
        """What comes after the first look at the topic, and before the questions for offsets."""
        outage.enter_context(Outage(pair, AT_A_TERMINAL_S + 5.0))
        return derived(*arguments, **more)

    monkeypatch.setattr("worker.replay.job.derived", die_and_derive)
    with outage:
        made = job(both, one, Request("0", "now"))
    assert made.plan.spans == {0: (0, 1)}
