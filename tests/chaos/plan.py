"""What goes wrong, and when: a seed becomes a list of timed actions. PURE: the same seed gives the same list.

Each thing that can fail has a stream of its own, drawn from a shuffled deck, so that every kind of fault comes early in
a short run too, and a longer run begins as a shorter one does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from heapq import merge
from itertools import takewhile
from random import Random

WORKERS, BROKERS, HOSTS = 3, 3, 3


class Fault(StrEnum):
    """What may happen."""

    WORKER_KILLED = "worker killed"
    WORKER_STOPPED = "worker stopped"
    WORKER_FROZEN = "worker frozen"
    BROKER_KILLED = "broker killed"
    BROKER_FROZEN = "broker frozen"
    """What a network that fails looks like: connections that stay open and say nothing."""
    ALL_BROKERS_KILLED = "all brokers killed"
    WIRE_UNSTEADY = "wire unsteady"
    """Connections between workers and a broker break with a request on its way, which comes late or never."""
    WIRE_CUT = "wire cut"
    """All connections between workers and a broker break at once, and none is made."""
    HOST_SLOW = "host slow"
    HOST_FAILING = "host failing"


@dataclass(frozen=True, slots=True, order=True)
class Action:
    """A fault, from `at_s` after the start on, and how long it lasts until all is well again."""

    at_s: float
    lasts_s: float
    fault: Fault
    target: int
    """Which worker, broker, wire (the broker's number) or host."""
    group: str = ""
    """Whose worker."""


_WORKER_LASTS_S = {
    Fault.WORKER_KILLED: (0.2, 3.0),
    Fault.WORKER_STOPPED: (0.2, 3.0),
    # Longer than the session and the poll interval of the workers here (workers.py), so that others take over.
    Fault.WORKER_FROZEN: (9.0, 14.0),
}


_BROKER_LASTS_S = {
    Fault.BROKER_KILLED: (1.0, 6.0),
    # Shorter and longer than the controller waits for a broker, 9 s.
    Fault.BROKER_FROZEN: (4.0, 12.0),
    Fault.ALL_BROKERS_KILLED: (1.0, 6.0),
}

BROKER_FAULTS = frozenset(_BROKER_LASTS_S)

_WIRE_LASTS_S = {
    Fault.WIRE_UNSTEADY: (2.0, 6.0),
    Fault.WIRE_CUT: (0.5, 2.0),
}

WIRE_FAULTS = frozenset(_WIRE_LASTS_S)


def plan(seed: int, seconds: float, groups: Sequence[str]) -> list[Action]:
    """The actions that begin in this time, in order."""
    streams = [_worker_faults(Random(f"{seed} {group}"), group) for group in groups]
    streams += [_broker_faults(Random(f"{seed} brokers")), _wire_faults(Random(f"{seed} wires"))]
    streams += [_host_faults(Random(f"{seed} hosts"))]
    return list(merge(*(takewhile(lambda action: action.at_s < seconds, stream) for stream in streams)))


def _worker_faults(rng: Random, group: str) -> Iterator[Action]:
    """One fault in ten seconds, never two at a time for one worker; often so for two, and at times for all.

    What is killed begins anew, which costs a second of a CPU: with more faults the groups of a small machine would fall
    behind, and the later ones would find nothing but backlogs.
    """
    free_s = [0.0] * WORKERS
    at_s = rng.uniform(2.0, 6.0)
    for fault in _deck(rng, list(_WORKER_LASTS_S)):
        target = min(range(WORKERS), key=lambda worker: (free_s[worker] > at_s, rng.random()))
        at_s = max(at_s, free_s[target])
        lasts_s = rng.uniform(*_WORKER_LASTS_S[fault])
        free_s[target] = at_s + lasts_s + 2.0
        yield Action(at_s, lasts_s, fault, target, group)
        at_s += rng.uniform(5.0, 15.0)


def _broker_faults(rng: Random) -> Iterator[Action]:
    at_s = rng.uniform(8.0, 14.0)
    for fault in _deck(rng, [*_BROKER_LASTS_S, Fault.BROKER_KILLED]):
        lasts_s = rng.uniform(*_BROKER_LASTS_S[fault])
        yield Action(at_s, lasts_s, fault, rng.randrange(BROKERS))
        at_s += lasts_s + rng.uniform(12.0, 28.0)


def _wire_faults(rng: Random) -> Iterator[Action]:
    at_s = rng.uniform(2.0, 6.0)
    for fault in _deck(rng, list(_WIRE_LASTS_S)):
        lasts_s = rng.uniform(*_WIRE_LASTS_S[fault])
        yield Action(at_s, lasts_s, fault, rng.randrange(BROKERS))
        at_s += lasts_s + rng.uniform(1.0, 6.0)


def _host_faults(rng: Random) -> Iterator[Action]:
    at_s = rng.uniform(1.0, 5.0)
    for fault in _deck(rng, [Fault.HOST_SLOW, Fault.HOST_FAILING]):
        lasts_s = rng.uniform(2.0, 6.0)
        yield Action(at_s, lasts_s, fault, rng.randrange(HOSTS))
        at_s += lasts_s + rng.uniform(1.0, 6.0)


def _deck(rng: Random, faults: list[Fault]) -> Iterator[Fault]:
    """The faults in random order, again and again."""
    while True:
        yield from rng.sample(faults, len(faults))
