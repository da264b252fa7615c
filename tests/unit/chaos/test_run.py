"""A plan is carried out: what is begun is ended, and nothing suffers two faults at a time."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.chaos import run as room
from tests.chaos.plan import Action, Fault, plan
from tests.chaos.run import Run


class FakeArena:
    """Notes what is done to it, which can be from `ready_s` on. A worker that is to stop is asked `stops` times."""

    def __init__(self, *, whole: bool = True, stops: int = 1, ready_s: float = 0.0) -> None:
        self.whole = whole
        self.ready_s = ready_s
        self.stops = stops
        self.now: list[tuple[str, str, int]] = []
        self.most = 0
        self.begun: list[Action] = []
        self.ended: list[Action] = []
        self.given_up: list[Action] = []

    def begin(self, action: Action) -> bool:
        if time.monotonic() < self.ready_s or ("broker" in action.fault and not self.whole):
            return False
        victim = (action.group, "", 0) if "broker" in action.fault else (action.group, str(action.fault), action.target)
        assert victim not in self.now
        self.now.append(victim)
        self.begun.append(action)
        return True

    def end(self, action: Action) -> bool:
        self.stops -= action.fault is Fault.WORKER_STOPPED
        if action.fault is Fault.WORKER_STOPPED and self.stops > 0:
            return False
        self.now.remove(
            (action.group, "", 0) if "broker" in action.fault else (action.group, str(action.fault), action.target)
        )
        self.ended.append(action)
        return True

    def give_up(self, action: Action) -> None:
        self.given_up.append(action)
        self.stops = 0

    def watch(self, down: set[tuple[str, int]]) -> None:
        pass

    def begin_replays(self) -> None:
        pass


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times as fast as in a run, with an agenda of a few seconds."""
    monkeypatch.setattr(room, "_STEP_S", 0.01)
    monkeypatch.setattr(room, "_AGAIN_S", 0.05)


def run(arena: FakeArena, actions: list[Action], seconds: float) -> None:
    anything: Any = arena
    Run(anything, lambda _: None).go(actions, seconds)


def test_all_that_is_begun_is_ended_also_what_would_last_longer_than_the_run() -> None:
    arena = FakeArena()
    run(arena, [Action(0.0, 0.1, Fault.HOST_SLOW, 0), Action(0.1, 60.0, Fault.WORKER_FROZEN, 1, "g")], 0.3)
    assert sorted(arena.begun) == sorted(arena.ended)
    assert len(arena.begun) == 2


def test_two_faults_of_one_victim_are_never_under_way_together() -> None:
    arena = FakeArena()
    actions = [
        Action(0.0, 0.2, Fault.BROKER_KILLED, 0),
        Action(0.01, 0.2, Fault.ALL_BROKERS_KILLED, 1),
        Action(0.02, 0.2, Fault.WORKER_KILLED, 1, "g"),
        Action(0.03, 0.2, Fault.WORKER_FROZEN, 1, "g"),
    ]
    run(arena, actions, 0.5)
    assert arena.begun == [actions[0], actions[2]]


def test_a_wire_fails_while_another_does_and_while_its_broker_falls() -> None:
    arena = FakeArena()
    actions = [
        Action(0.0, 0.2, Fault.BROKER_KILLED, 0),
        Action(0.01, 0.2, Fault.WIRE_UNSTEADY, 0),
        Action(0.02, 0.2, Fault.WIRE_CUT, 0),
        Action(0.03, 0.2, Fault.WIRE_CUT, 1),
    ]
    run(arena, actions, 0.5)
    assert arena.begun == [actions[0], actions[1], actions[3]]


def test_brokers_that_are_not_whole_are_spared_for_so_long() -> None:
    arena = FakeArena(whole=False)
    run(arena, [Action(0.0, 0.1, Fault.BROKER_KILLED, 0)], 0.2)
    assert arena.begun == []


def test_a_worker_that_does_not_stop_is_waited_for_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    patient = FakeArena(stops=3)
    stopped = [Action(0.0, 0.1, Fault.WORKER_STOPPED, 0, "g")]
    run(patient, stopped, 0.2)
    assert (patient.ended, patient.given_up) == (stopped, [])
    monkeypatch.setattr(room, "_STOPS_WITHIN_S", 0.3)
    never = FakeArena(stops=10_000)
    run(never, stopped, 0.2)
    assert never.given_up[:1] == never.ended == stopped


def test_a_worker_has_its_time_to_stop_from_when_it_was_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not from when that was planned: what cannot be done yet is put off."""
    monkeypatch.setattr(room, "_STOPS_WITHIN_S", 0.45)
    arena = FakeArena(stops=3, ready_s=time.monotonic() + 0.6)
    stopped = [Action(0.0, 0.05, Fault.WORKER_STOPPED, 0, "g")]
    run(arena, stopped, 1.0)
    assert (arena.ended, arena.given_up) == (stopped, [])


def test_a_whole_plan_is_gone_through() -> None:
    arena = FakeArena()
    actions = [
        Action(each.at_s / 60, each.lasts_s / 60, each.fault, each.target, each.group) for each in plan(1, 60, ["a"])
    ]
    run(arena, actions, 1.2)
    assert len(arena.begun) >= len(actions) - 2
    assert sorted(arena.begun) == sorted(arena.ended)
