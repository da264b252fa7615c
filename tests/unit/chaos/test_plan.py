"""A seed becomes a list of timed actions."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

from tests.chaos.plan import WIRE_FAULTS, WORKERS, Action, Fault, plan

GROUPS = ["one", "two"]


def test_the_same_seed_gives_the_same_plan_and_another_one_another() -> None:
    assert plan(7, 60, GROUPS) == plan(7, 60, GROUPS)
    assert plan(7, 60, GROUPS) != plan(8, 60, GROUPS)


def test_a_longer_run_begins_as_a_shorter_one() -> None:
    short = plan(3, 60, GROUPS)
    assert plan(3, 600, GROUPS)[: len(short)] == short


def test_it_is_in_order_and_ends_in_time() -> None:
    times = [action.at_s for action in plan(3, 90, GROUPS)]
    assert times == sorted(times)
    assert times[-1] < 90


def test_a_short_run_has_every_kind_of_fault_and_every_group_every_kind_of_its_workers() -> None:
    for seed in range(20):
        actions = plan(seed, 120, GROUPS)
        assert {action.fault for action in actions} == set(Fault)
        kinds = Counter((action.group, action.fault) for action in actions if action.group)
        assert len(kinds) == 6
        assert min(kinds.values()) >= 2


def test_no_worker_has_two_faults_at_a_time_no_two_brokers_fall_together_and_one_wire_fails_at_a_time() -> None:
    lanes: dict[object, list[Action]] = defaultdict(list)
    for action in plan(5, 3600, GROUPS):
        if "broker" in action.fault:
            lanes["brokers"].append(action)
        elif action.fault in WIRE_FAULTS:
            lanes["wires"].append(action)
        elif action.group:
            lanes[action.group, action.target].append(action)
    assert len(lanes) == 2 + WORKERS * len(GROUPS)
    for actions in lanes.values():
        for before, after in pairwise(actions):
            assert after.at_s >= before.at_s + before.lasts_s
