"""Three brokers, image hosts, a producer, and the workers of every group: what faults are done to, and undone."""

from __future__ import annotations

import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from confluent_kafka import KafkaException

from tests.chaos.books import LateCommit
from tests.chaos.groups import Group, live_group, replay_of
from tests.chaos.hosts import Hosts
from tests.chaos.offsets import parse_request
from tests.chaos.plan import BROKER_FAULTS, BROKERS, WIRE_FAULTS, WORKERS, Action, Fault
from tests.chaos.producer import SteadyProducer
from tests.chaos.wires import OFFSET_COMMIT, Wires
from tests.chaos.workers import Combination, WorkerProcess
from tests.clusters import Cluster
from tests.kafka_server import RealKafka

_NOT_LOADED = "Failed to load metadata from __consumer_offsets"
"""A fault of Apache Kafka (4.3.1) itself."""


@dataclass(slots=True)
class Arena:
    """All of it, running."""

    kafka: RealKafka
    wires: Wires
    hosts: Hosts
    groups: dict[str, Group]
    producer: SteadyProducer
    begin_replay: Callable[[Combination], Group]
    replays_to_come: list[Combination]
    done: Counter[Fault] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)
    """What a worker did that it never may, such as to end by itself."""

    def begin_replays(self) -> None:
        """Have what is in the topics by now done again, once the brokers are whole: there are topics to be made."""
        while self.replays_to_come and self.brokers_are_whole():
            try:
                group = self.begin_replay(self.replays_to_come[0])
            except KafkaException:
                return  # a broker that came back a moment ago is not ready: the next call tries again
            self.groups[str(self.replays_to_come.pop(0))] = group

    def begin(self, action: Action) -> bool:
        """Do a fault. False where it cannot be done yet: brokers fall only when all of them are whole."""
        if action.group and action.group not in self.groups:
            return False
        if action.fault in BROKER_FAULTS:
            if not self.brokers_are_whole():
                return False
            self._fell(action)
        elif action.fault in WIRE_FAULTS:
            self._wire(action, on=True)
        elif action.fault is Fault.HOST_SLOW:
            self.hosts.slow.add(action.target)
        elif action.fault is Fault.HOST_FAILING:
            self.hosts.failing.add(action.target)
        else:
            self._worker(action).signal(_SIGNALS[action.fault])
        self.done[action.fault] += 1
        return True

    def end(self, action: Action) -> bool:
        """Undo a fault. False where that must be tried again: a worker has not drained yet."""
        if action.fault is Fault.BROKER_FROZEN:
            self.kafka.brokers[action.target].signal(signal.SIGCONT)
        elif action.fault in BROKER_FAULTS:
            for broker in self._brokers(action):
                self.kafka.restart(broker)
        elif action.fault in WIRE_FAULTS:
            self._wire(action, on=False)
        elif action.fault is Fault.HOST_SLOW:
            self.hosts.slow.discard(action.target)
        elif action.fault is Fault.HOST_FAILING:
            self.hosts.failing.discard(action.target)
        elif action.fault is Fault.WORKER_FROZEN:
            self._worker(action).signal(signal.SIGCONT)
        else:
            return self._restart(action)
        return True

    def give_up(self, action: Action) -> None:
        """A worker that does not stop: it is killed, and that is a trouble."""
        worker = self._worker(action)
        self.troubles.append(f"{worker.name} was to stop and does not: {worker.last_words()}")
        worker.end()

    def watch(self, down: set[tuple[str, int]]) -> None:
        """Note workers that ended though nobody ended them, and start them again; `down` are those who were ended."""
        for name, group in self.groups.items():
            for number, worker in enumerate(group.workers):
                if (name, number) not in down and (code := worker.exited()) is not None:
                    self._go_on(group, worker, code)

    def _go_on(self, group: Group, worker: WorkerProcess, code: int, fault: Fault | None = None) -> None:
        """Start one again that exited so, after this was done to it, unless it is over; note what may not be."""
        if group.is_over(code):
            return
        if not group.may_end(code, worker.said(), fault):
            told = f"ended of itself with {code}" if fault is None else f"{fault}, and ended with {code}"
            self.troubles.append(f"{worker.name}: {told}: {worker.last_words()}")
        worker.start()

    def lost_coordinators(self) -> list[str]:
        """What brokers say that cannot load what they keep of a group: none of its clients can go on then, whoever."""
        logs = [broker.folder / "broker.log" for broker in self.kafka.brokers]
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
        return sorted({line[:300] for line in lines if _NOT_LOADED in line and "Replaying record" in line})[:3]

    def dead_brokers(self) -> list[str]:
        """Those that do not run."""
        dead = [each for each in self.kafka.brokers if each.process is None or each.process.poll() is not None]
        return [f"broker {each.number} is dead: see {each.folder / 'broker.log'}" for each in dead]

    def late_commits(self) -> dict[str, list[LateCommit]]:
        """Of each consumer group, the commits outside of transactions that came late to a broker, or may have."""
        commits: dict[str, list[LateCommit]] = defaultdict(list)
        for late in (*self.wires.late, *self.wires.unanswered):
            if late.api == OFFSET_COMMIT:
                group, offsets = parse_request(late.request)
                commits[group] += [LateCommit(n, offset, late.from_ms, late.to_ms) for _, n, offset in offsets]
        return commits

    def brokers_are_whole(self) -> bool:
        """Whether every partition has all its replicas in sync: then one broker may fall, and all is still there."""
        try:
            topics = self.kafka.admin().list_topics(timeout=2.0).topics.values()
        except KafkaException:
            return False
        return all(len(part.isrs) == BROKERS for topic in topics for part in topic.partitions.values())

    def _fell(self, action: Action) -> None:
        if action.fault is Fault.BROKER_FROZEN:
            self.kafka.brokers[action.target].signal(signal.SIGSTOP)
            return
        for broker in self._brokers(action):
            self.kafka.brokers[broker].kill()

    def _wire(self, action: Action, *, on: bool) -> None:
        fault = self.wires.cut if action.fault is Fault.WIRE_CUT else self.wires.unsteady
        fault(action.target, on=on)

    def _brokers(self, action: Action) -> Sequence[int]:
        return range(BROKERS) if action.fault is Fault.ALL_BROKERS_KILLED else [action.target]

    def _worker(self, action: Action) -> WorkerProcess:
        return self.groups[action.group].workers[action.target]

    def _restart(self, action: Action) -> bool:
        worker = self._worker(action)
        if (code := worker.exited()) is None:
            return False
        self._go_on(self.groups[action.group], worker, code, action.fault)
        return True


_SIGNALS = {
    Fault.WORKER_KILLED: signal.SIGKILL,
    Fault.WORKER_STOPPED: signal.SIGTERM,
    Fault.WORKER_FROZEN: signal.SIGSTOP,
}


@contextmanager
def arena(
    combinations: Sequence[Combination], rate: float, folder: Path, tell: Callable[[str], None]
) -> Iterator[Arena]:
    """Start everything, and end everything afterwards. Logs, and what the brokers hold, stay in `folder`."""
    with ExitStack() as stack:
        tell("starting three brokers")
        wires = stack.enter_context(Wires(BROKERS))
        kafka = stack.enter_context(RealKafka(BROKERS, folder / "kafka", keep=True, proxies=wires.ports))
        wires.lead_to(kafka.brokers)
        hosts = stack.enter_context(Hosts())
        cluster = Cluster(kafka.bootstrap_servers, real=True)
        by_wire = Cluster(wires.bootstrap_servers, real=True)
        live = [each for each in combinations if not each.is_replay]
        groups = {str(each): live_group(each, cluster, by_wire, hosts, folder) for each in live}

        def start(group: Group) -> Group:
            for worker in group.workers:
                stack.callback(worker.end)
                worker.start()
            return group

        def begin_replay(combination: Combination) -> Group:
            of = groups[str(replace(combination, is_replay=False))]
            return start(replay_of(combination, of.books, kafka.bootstrap_servers, by_wire, hosts, folder))

        tell(f"starting {WORKERS} workers of {len(groups)} groups")
        for group in groups.values():
            start(group)
        inputs = [group.books.input for group in groups.values()]
        producer = SteadyProducer(kafka.bootstrap_servers, inputs, hosts, rate)
        stack.callback(producer.stop, 0)
        producer.start()
        replays = [each for each in combinations if each.is_replay]
        yield Arena(kafka, wires, hosts, groups, producer, begin_replay, replays)
