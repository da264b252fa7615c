"""The groups that are tried: their topics, their workers, and replays of what they did."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.hosts import Hosts
from tests.chaos.plan import WORKERS, Fault
from tests.chaos.verifier import Books, ends
from tests.chaos.workers import Combination, WorkerProcess, last_line
from tests.clusters import Cluster, Topics

_PARTITIONS = 8
_NO_BROKER = "no Kafka broker answered"
"""What a worker ends with that is started while the brokers are away: it promises to start only where they answer."""
_STOPPED_EARLY = "the same command goes on with it"
"""What a replay ends with that is told to stop."""
_STARTED = '"worker.started"'
"""What a worker logs that is ready, and minds signals."""
_REPLAY, _REPLAY_RATE = "chaos", 25
"""The id of a replay, and how many records a second each of its processes takes in: so that faults find it at work."""
_OUTPUTS = {"message.timestamp.type": "LogAppendTime"}
"""Outcomes bear the time at which they came to be there, so that the first of an event can be told."""


@dataclass(frozen=True, slots=True)
class Group:
    """A combination that is tried, its topics and its workers."""

    combination: Combination
    books: Books
    workers: tuple[WorkerProcess, ...]

    def is_over(self, code: int | None) -> bool:
        """Whether a worker that exited so has nothing more to do: a replay that is at its end."""
        return self.combination.is_replay and code == 0

    def may_end(self, code: int, said: str, fault: Fault | None = None) -> bool:
        """Whether one of its workers may end with this code, after it logged that, and after what was done to it."""
        if fault is Fault.WORKER_KILLED and code == -signal.SIGKILL:
            return True
        told_to = fault is Fault.WORKER_STOPPED
        # A worker that was still starting, and holds nothing, ends of the signal itself.
        if told_to and (code == 0 or (code == -signal.SIGTERM and _STARTED not in said)):
            return True
        fair = [_NO_BROKER, *([_STOPPED_EARLY] if told_to and self.combination.is_replay else [])]
        return any(each in last_line(said) for each in fair)


def live_group(combination: Combination, cluster: Cluster, by_wire: Cluster, hosts: Hosts, folder: Path) -> Group:
    tag = _tag(combination)
    topics = Topics(f"images-{tag}", f"results-{tag}", f"dead-{tag}", f"group-{tag}")
    cluster.create(topics.input, partitions=_PARTITIONS)
    cluster.create(topics.results, topics.dead_letters, partitions=_PARTITIONS, config=_OUTPUTS)

    def worker(name: str) -> WorkerProcess:
        flags = combination.flags(by_wire, topics, hosts.port, name)
        return WorkerProcess(name, "tests.free_worker", flags, folder / f"{name}.log")

    books = Books(topics.group, topics.input, topics.results, topics.dead_letters, combination.exactly_once)
    return Group(combination, books, tuple(map(worker, _names(tag))))


def replay_of(combination: Combination, of: Books, servers: str, by_wire: Cluster, hosts: Hosts, folder: Path) -> Group:
    """Three processes that share a replay of what is in the topic by now: as much of each partition."""
    until = min(ends(servers, [of.input]).values())
    live = Topics(of.input, of.results, of.dead_letters, of.group)
    replay = ["replay", "--from", "beginning", "--to", str(until), "--id", _REPLAY, "--rate", str(_REPLAY_RATE)]

    def worker(name: str) -> WorkerProcess:
        flags = combination.flags(by_wire, live, hosts.port, name)
        settings = [word for flag in flags for word in ("--set", flag)]
        return WorkerProcess(name, "tests.free_image_worker", [*settings, *replay], folder / f"{name}.log")

    own, exactly_once = f".replay.{_REPLAY}", combination.exactly_once
    books = Books(of.group + own, of.input, of.results + own, of.dead_letters + own, exactly_once, until, of.group)
    return Group(combination, books, tuple(map(worker, _names(_tag(combination)))))


def _tag(combination: Combination) -> str:
    return str(combination).replace(", ", "-").replace(" ", "-")


def _names(tag: str) -> list[str]:
    return [f"{tag}-{number}" for number in range(WORKERS)]
