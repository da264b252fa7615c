"""Whatever happens while starts are asked for, reading begins where the group is. The coordinator is a fake."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.mutation import examples
from tests.unit.kafka.test_member import NOWHERE
from worker.kafka import scout
from worker.kafka import starts as room
from worker.kafka.ledger import Partition, Position
from worker.kafka.settings import KafkaSettings
from worker.kafka.starts import Starts
from worker.kafka.topic_id import TopicWatch

PARTITIONS = [("images", number) for number in range(4)]
NOTHING = -1001
SETTINGS = KafkaSettings(bootstrap_servers=NOWHERE, start="latest")
WATCH = TopicWatch(SETTINGS)
WATCH._mute = True
END = 7


class Scouting:
    """The scout's client: a new one knows all partitions, and asks the coordinator of today."""

    def __init__(self, machine: Starting) -> None:
        self.machine = machine
        self.unknown: set[Partition] = set()
        self.heard: dict[Partition, int] | None = None
        """What a coordinator has that is coordinator no more."""

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        entries = self.machine.committed(partitions, timeout)
        if self.heard is not None:
            for entry in entries:
                entry.offset = self.heard[entry.topic, entry.partition]
        return entries

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        if (partition.topic, partition.partition) in self.unknown:
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
        return (0, END)

    def list_topics(self, topic: str, timeout: float) -> Any:
        partitions = {number: SimpleNamespace(leader=1) for _, number in PARTITIONS}
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions=partitions)})

    def poll(self, timeout_s: float) -> None: ...


class Starting(RuleBasedStateMachine):
    """One member, the coordinator, and others that commit in what is not this member's."""

    partitions = st.sampled_from(PARTITIONS)

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.offsets = dict.fromkeys(PARTITIONS, NOTHING)
        self.held_back: set[Partition] = set()
        self.away = self.refuses = False
        self.scouts: list[tuple[Any, Future[Any]]] = []
        client: Any = self
        with self.alone():
            self.starts = Starts(SETTINGS, client, self.commit, WATCH)
        self.starts._asker._old = PARTITIONS[:2]
        self.assigned: set[Partition] = set()

    def alone(self) -> Any:
        """With the clock of the test, and threads that end when it says so."""
        time = type("Clock", (), {"monotonic": lambda _: self.now_s})()
        alone = ExitStack()
        alone.enter_context(patch.multiple(room, time=time, aside=self._aside))
        alone.enter_context(patch.multiple(scout, open_client=lambda *_: self._scout()))
        return alone

    def _scout(self) -> Scouting:
        self.scout = Scouting(self)
        return self.scout

    def _aside(self, call: Any, _name: str) -> Future[Any]:
        self.scouts.append((call, answer := Future[Any]()))
        return answer

    # What a client says.

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        wanted = [(each.topic, each.partition) for each in partitions]
        assert wanted, "it is asked about nothing"
        if self.away or self.held_back & set(wanted):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return [TopicPartition(*each, self.offsets[each]) for each in wanted]

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float) -> bool:
        if positions and (self.away or self.refuses):
            return False
        for partition, position in positions.items():
            assert partition in self.assigned
            assert self.offsets[partition] == NOTHING
            self.offsets[partition] = position.offset
        return True

    # What happens.

    @rule(partition=partitions)
    def is_assigned(self, partition: Partition) -> None:
        if partition not in self.assigned:
            self.assigned.add(partition)
            with self.alone():
                self.starts.ask([partition])

    @rule(partition=partitions, more=st.integers(1, 3))
    def is_given_up_and_another_goes_on(self, partition: Partition, more: int) -> None:
        if partition in self.assigned:
            self.assigned.discard(partition)
            self.starts.forget([partition])
        self.offsets[partition] = max(0, self.offsets[partition]) + more

    @rule(partition=partitions, more=st.integers(1, 3))
    def stands_still_and_another_goes_on_unheard(self, partition: Partition, more: int) -> None:
        """Of one that is begun this is settled elsewhere (settling.py)."""
        self.now_s += self.starts._patience_s + 0.001
        self.offsets[partition] = max(0, self.offsets[partition]) + more

    @rule(partition=partitions)
    def a_transaction_holds_it(self, partition: Partition) -> None:
        self.held_back ^= {partition}

    @rule(away=st.booleans(), refuses=st.booleans())
    def the_coordinator_goes_or_comes(self, away: bool, refuses: bool) -> None:
        self.away, self.refuses = away, refuses

    @rule(partition=partitions)
    def the_scout_knows_a_partition_no_more(self, partition: Partition) -> None:
        self.scout.unknown.add(partition)

    @rule(of_old=st.booleans())
    def the_scout_has_heard_of_another_coordinator(self, of_old: bool) -> None:
        self.scout.heard = dict(self.offsets) if of_old else None

    @precondition(lambda self: self.scouts)
    @rule()
    def the_scout_comes_back(self) -> None:
        call, answer = self.scouts.pop(0)
        try:
            with self.alone():
                answer.set_result(call())
        except KafkaException as error:
            answer.set_exception(error)

    @rule(s=st.floats(0.0, 1.0), begins=st.booleans())
    def polls(self, s: float, begins: bool) -> None:
        """`begins`: whether no commit holds the assignment back."""
        self.now_s += s
        with self.alone():
            ready = self.starts.ready()
        for partition, start in ready.items():
            assert partition in self.assigned
            committed = self.offsets[partition]
            # What is at its end is committed first. What was added later begins at its beginning, which is no commit.
            assert start.position.offset == (committed if committed != NOTHING else 0)
            assert committed != NOTHING or partition not in PARTITIONS[:2]
        if begins:
            self.starts.forget(tuple(ready))

    @invariant()
    def asks_one_thing_at_a_time(self) -> None:
        assert len(self.scouts) <= 1

    def teardown(self) -> None:
        """When all is well all begins."""
        self.away = self.refuses = False
        self.held_back.clear()
        self.scout.heard = None
        for _ in range(4 * len(PARTITIONS)):
            if self.scouts:
                self.the_scout_comes_back()
            self.polls(s=0.5, begins=True)
        assert not self.starts.waiting


TestStarting = Starting.TestCase
TestStarting.settings = settings(max_examples=examples(250), stateful_step_count=40, deadline=None)
