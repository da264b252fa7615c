"""Moves leaders for certain: in the middle of a transaction that is held there, without a broker's end or with it."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from unittest.mock import patch

from confluent_kafka import ElectionType, TopicPartition
from confluent_kafka.admin import PartitionMetadata

from tests.clusters import PATIENCE_S, Cluster
from tests.kafka_server import Broker, RealKafka
from worker.kafka import transactions
from worker.kafka.exactly_once import ExactlyOnceSink
from worker.kafka.ledger import Partition, Position, Settlement
from worker.kafka.sink import Group, Positions
from worker.kafka.transactions import Phase

Leaders = dict[tuple[str, int], int]


class HeldSink:
    """The real sink. Once armed, its next transaction is held at a phase, with the call of that phase unanswered."""

    def __init__(self, sink: ExactlyOnceSink, at: Phase) -> None:
        self._sink = sink
        self._at = at
        self.armed = threading.Event()
        self.reached = threading.Event()
        self.let_go = threading.Event()

    @property
    def throttled(self) -> bool:
        return self._sink.throttled

    def open(self, timeout_s: float) -> bool:
        return self._sink.open(timeout_s)

    def settle(self, settlement: Settlement, positions: Positions, group: Group, timeout_s: float) -> bool:
        if self.reached.is_set() and not self.let_go.is_set():
            return False
        waits = self.armed.is_set() and not self.reached.is_set()
        with patch.object(transactions, "_LEAST_S", 0.0 if waits else transactions._LEAST_S):
            done = self._sink.settle(settlement, positions, group, 0.0 if waits else timeout_s)
        if waits and not done and self._sink._transactions.phase is self._at:
            self.reached.set()
        return done

    def commit(self, positions: Mapping[Partition, Position], group: Group, timeout_s: float) -> bool:
        return self._sink.commit(positions, group, timeout_s)

    def close(self) -> None:
        self._sink.close()


def restart(kafka: RealKafka, *brokers: Broker) -> None:
    """Let brokers die, all of them at once, and come back."""
    for broker in brokers:
        broker.kill()
    for broker in brokers:
        kafka.restart(kafka.brokers.index(broker))
    assert kafka.answers()


def coordinator(cluster: Cluster, kafka: RealKafka, group: str) -> Broker:
    """The broker that coordinates a group."""
    found = cluster.admin()
    node = found.describe_consumer_groups([group])[group].result(timeout=PATIENCE_S).coordinator
    return next(broker for broker in kafka.brokers if broker.number == node.id)


def leaders(cluster: Cluster, topics: Sequence[str]) -> Leaders:
    """The broker that leads each partition."""
    return {each: entry.leader for each, entry in _partitions(cluster, topics).items()}


def prefer_others(kafka: RealKafka, cluster: Cluster, topics: Sequence[str]) -> None:
    """Let another replica of each partition be the preferred one. What leads goes on with it until an election."""
    moves = [
        {"topic": name, "partition": number, "replicas": sorted(entry.replicas, key=entry.leader.__eq__)}
        for (name, number), entry in _partitions(cluster, topics).items()
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as plan:
        json.dump({"version": 1, "partitions": moves}, plan)
        plan.flush()
        command = ["java", "-XX:TieredStopAtLevel=1", "-cp", kafka.classpath]
        command += ["org.apache.kafka.tools.reassign.ReassignPartitionsCommand", "--execute"]
        command += ["--bootstrap-server", kafka.bootstrap_servers, "--reassignment-json-file", plan.name]
        subprocess.run(command, check=True, capture_output=True)


def elect_preferred(cluster: Cluster, topics: Sequence[str]) -> None:
    """Let the preferred replicas lead, as soon as they are in sync."""
    admin = cluster.admin()
    deadline_s = time.monotonic() + PATIENCE_S
    while others := [each for each, entry in _partitions(cluster, topics).items() if entry.leader != entry.replicas[0]]:
        assert time.monotonic() < deadline_s, f"{others} have another leader still"
        admin.elect_leaders(ElectionType.PREFERRED, [TopicPartition(*each) for each in others]).result(PATIENCE_S)


def _partitions(cluster: Cluster, topics: Sequence[str]) -> dict[tuple[str, int], PartitionMetadata]:
    admin = cluster.admin()
    found = admin.list_topics(timeout=PATIENCE_S).topics
    return {(name, number): entry for name in topics for number, entry in found[name].partitions.items()}
