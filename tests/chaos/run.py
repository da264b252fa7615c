"""A run: the plan is carried out, then all is whole again, and every group must come to the end of its topic."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from confluent_kafka import KafkaException

from tests.chaos.arena import Arena
from tests.chaos.plan import WIRE_FAULTS, Action, Fault
from tests.chaos.verifier import unsettled

_STEP_S = 0.1
_AGAIN_S = 0.5
_PUT_OFF_S = 15.0
"""How long a fault waits until it is possible: brokers fall only when all of them are whole."""
_SETTLES_WITHIN_S = 120.0
_SETTLES_AT_LAST_S = 900.0
"""How long nothing may move, and how long all may take: on a slow machine an hour leaves a backlog."""
_REPLAYS_FROM = 0.4
"""When replays begin, as a share of the time in which things fail."""
_LAST_EVENTS = 60
"""For each group, after the last request that came late: so many that each partition has one, and a commit after it."""
_STOPS_WITHIN_S = 60.0
"""A worker that was told to stop, from then on: its drain deadline is 3 s, and its brokers may be away meanwhile."""


@dataclass(slots=True)
class Run:
    """Carries out actions on an arena."""

    arena: Arena
    tell: Callable[[str], None]
    _agenda: list[tuple[float, int, bool, Action]] = field(default_factory=list)
    """When, in which order, whether it is to end, and what."""
    _tick: count[int] = field(default_factory=count)
    _under_way: dict[tuple[str, int], Action] = field(default_factory=dict)
    _begun_s: dict[tuple[str, int], float] = field(default_factory=dict)
    """When what is under way was begun, which may be later than it was planned for."""
    _start_s: float = field(default_factory=time.monotonic)

    def go(self, actions: Sequence[Action], seconds: float) -> None:
        """Let these things happen for so long, and then undo what is still under way."""
        for action in actions:
            self._put(action.at_s, False, action)
        while (now_s := self._now_s()) < seconds:
            self._act(now_s)
            if now_s >= seconds * _REPLAYS_FROM:
                self.arena.begin_replays()
            time.sleep(_STEP_S)
        self.tell("faults end")
        self._agenda = [(0.0, next(self._tick), True, action) for action in self._under_way.values()]
        while self._under_way:
            self._act(self._now_s())
            time.sleep(_STEP_S)

    def settle(self) -> list[str]:
        """Wait until every group has committed the ends; what stalls is named."""
        self._outlast_the_late()
        if not self.arena.producer.stop(_SETTLES_WITHIN_S):
            return ["the producer's events are not acknowledged: the brokers do not answer"]
        end_s = time.monotonic() + _SETTLES_AT_LAST_S
        stalls, moved_s = self._stalls(), time.monotonic()
        while stalls and time.monotonic() < min(end_s, moved_s + _SETTLES_WITHIN_S):
            self.tell(f"faults have ended; waiting for {len(stalls)} partitions: {stalls[0]}")
            self.arena.begin_replays()
            self.arena.watch(set())
            time.sleep(1.0)
            before, stalls = stalls, self._stalls()
            moved_s = moved_s if stalls == before else time.monotonic()
        return stalls

    def _outlast_the_late(self) -> None:
        """A commit that came late holds an offset back until the next one, which needs an event (guarantees.md)."""
        deadline_s = time.monotonic() + _SETTLES_WITHIN_S
        self._wait(lambda: self.arena.wires.quiet, deadline_s)
        last = self.arena.producer.acknowledged.total() + _LAST_EVENTS * len(self.arena.groups)
        self._wait(lambda: self.arena.producer.acknowledged.total() >= last, deadline_s)

    def _wait(self, enough: Callable[[], bool], deadline_s: float) -> None:
        while not enough() and time.monotonic() < deadline_s:
            self.arena.watch(set())
            time.sleep(_STEP_S)

    def _stalls(self) -> list[str]:
        servers = self.arena.kafka.bootstrap_servers
        stalls = [f"{each}: has not begun" for each in self.arena.replays_to_come]
        for name, group in self.arena.groups.items():
            try:
                left = unsettled(servers, group.books)
            except KafkaException as error:
                return [f"{name}: {error.args[0].str()}"]
            stalls += [f"{name}: partition {n} is committed to {at} of {end}" for n, (at, end) in left.items()]
            running = [worker.name for worker in group.workers if not group.is_over(worker.exited())]
            stalls += [f"{each}: has not ended" for each in running if group.combination.is_replay]
        return stalls

    def _act(self, now_s: float) -> None:
        while self._agenda and self._agenda[0][0] <= now_s:
            _, _, ends_now, action = heappop(self._agenda)
            if ends_now:
                self._end(now_s, action)
            else:
                self._begin(now_s, action)
        ended = {Fault.WORKER_KILLED, Fault.WORKER_STOPPED}
        self.arena.watch({(each.group, each.target) for each in self._under_way.values() if each.fault in ended})

    def _begin(self, now_s: float, action: Action) -> None:
        """Where that is possible: what already suffers one fault is spared the next, which on a slow machine comes."""
        if _victim(action) in self._under_way or now_s > action.at_s + _PUT_OFF_S:
            return
        if not self.arena.begin(action):
            self._put(now_s + _AGAIN_S, False, action)
            return
        self.tell(f"{now_s:6.1f} s  {_words(action)} for {action.lasts_s:.1f} s")
        self._under_way[_victim(action)], self._begun_s[_victim(action)] = action, now_s
        self._put(now_s + action.lasts_s, True, action)

    def _end(self, now_s: float, action: Action) -> None:
        if self.arena.end(action):
            del self._under_way[_victim(action)]
            return
        if now_s > self._begun_s[_victim(action)] + _STOPS_WITHIN_S:
            self.arena.give_up(action)
        self._put(now_s + _AGAIN_S, True, action)

    def _put(self, at_s: float, ends_now: bool, action: Action) -> None:
        heappush(self._agenda, (at_s, next(self._tick), ends_now, action))

    def _now_s(self) -> float:
        return time.monotonic() - self._start_s


def _victim(action: Action) -> tuple[str, int]:
    """What one fault at a time is done to: a worker, a wire, a host, or the brokers together."""
    if action.group:
        return action.group, action.target
    if action.fault in WIRE_FAULTS:
        return "wire", action.target
    return ("host", action.target) if action.fault in (Fault.HOST_SLOW, Fault.HOST_FAILING) else ("broker", 0)


def _words(action: Action) -> str:
    whose = f"{action.group}: " if action.group else ""
    return f"{whose}{action.fault} ({action.target})"
