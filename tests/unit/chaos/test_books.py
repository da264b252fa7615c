"""The auditor sees what is wrong: histories that were doctored."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from tests.chaos.books import KINDS, NOWHERE, Committed, Found, LateCommit, Verdict, audit
from tests.chaos.events import Event
from tests.cli import environment

ENDS = {0: 4, 1: 3}
DONE_MS = 2000
COMMITS = [Committed(0, 2, DONE_MS), Committed(1, 3, DONE_MS), Committed(0, 4, DONE_MS)]
SOUND = Event(None, "a", frozenset({"fetch_timeout"}))
FICKLE = replace(SOUND, is_fickle=True)


def outcome(partition: int, offset: int, *, at: int, lane: int = 0, topic: str = "results", label: str = "a") -> Found:
    return Found((partition, offset), f"id-{partition}-{offset}", (topic, lane), at, 1000 + at, label=label)


def dead(told: Found, reason: str = "fetch_timeout") -> Found:
    return replace(told, reason=reason, label=None)


def history() -> list[Found]:
    """Every event once, in order: partition 0 in lane 0, partition 1 in both lanes and the dead letters."""
    return [
        *(outcome(0, offset, at=offset) for offset in range(4)),
        outcome(1, 0, at=4),
        outcome(1, 1, at=0, lane=1),
        outcome(1, 2, at=0, topic="dead"),
    ]


def committed(ends: dict[int, int]) -> list[Committed]:
    return [Committed(partition, end, DONE_MS) for partition, end in ends.items()]


def counts(verdict: Verdict) -> dict[str, int]:
    """What is not zero."""
    return {kind: getattr(verdict, kind) for kind in KINDS if getattr(verdict, kind)}


def test_a_history_in_which_all_is_well_has_no_findings() -> None:
    verdict = audit(ENDS, history(), COMMITS, {each.event: SOUND for each in history()})
    assert counts(verdict) == {}
    assert (verdict.events, verdict.outcomes) == (7, 7)
    assert verdict.missed() == []


def test_a_replay_whose_outcomes_have_other_ids_than_the_live_ones_is_noticed() -> None:
    live = {each.event: each.id for each in history()}
    assert counts(audit(ENDS, history(), COMMITS, ids=live)) == {}
    assert counts(audit(ENDS, history(), COMMITS, ids=live | {(0, 1): "another"})) == {"unequal_id": 1}


@pytest.mark.parametrize("gone", range(7))
def test_an_event_without_an_outcome_is_lost(gone: int) -> None:
    told = history()
    event = told.pop(gone).event
    verdict = audit(ENDS, told, COMMITS)
    assert counts(verdict) == {"lost": 1}
    assert verdict.places["lost"] == [f"partition {event[0]}, offset {event[1]}"]
    assert verdict.missed({"repeated"}) == ["lost"]


@pytest.mark.parametrize("event", [(0, 4), (1, 99), (2, 0), NOWHERE])
def test_an_outcome_of_an_event_that_there_is_not_is_unknown_and_is_never_allowed(event: tuple[int, int]) -> None:
    verdict = audit(ENDS, [*history(), replace(outcome(*event, at=99), id="other")], COMMITS)
    assert counts(verdict) == {"unknown": 1}
    assert verdict.missed({"repeated", "held_back", "out_of_order"}) == ["unknown"]


def test_what_the_brokers_lost_is_counted_apart_and_is_no_aim_that_was_missed() -> None:
    verdict = audit(ENDS, history()[2:], COMMITS)
    assert verdict.missing == [(0, 0), (0, 1)]
    verdict.blame_the_brokers("unmarked", {(0, 1)}, at_most=1)
    assert counts(verdict) == {"lost": 1, "unmarked": 1}
    assert (verdict.places["lost"], verdict.places["unmarked"]) == (
        ["partition 0, offset 0"],
        ["partition 0, offset 1"],
    )
    assert verdict.missed() == ["lost"]
    verdict.blame_the_brokers("unmarked", {(0, 0)}, at_most=1)
    assert verdict.missed() == []


def test_what_the_brokers_had_done_again_is_counted_apart_and_only_where_nothing_may_be_repeated() -> None:
    repeats = [replace(outcome(0, offset, at=50 + offset), offset=90 + offset) for offset in (0, 1, 1)]
    verdict = audit(ENDS, [*history(), *repeats], COMMITS, exactly_once=True)
    assert counts(verdict) == {"repeated": 3}
    assert [later.event for later, _ in verdict.again] == [(0, 0), (0, 1), (0, 1)]
    verdict.blame_the_brokers("torn", {(0, 1)}, at_most=1)
    assert counts(verdict) == {"repeated": 1, "torn": 1}
    assert verdict.missed() == ["repeated"]
    verdict.blame_the_brokers("torn", {(0, 0)}, at_most=1)
    assert verdict.missed() == []
    assert audit(ENDS, [*history(), *repeats], COMMITS).again == []


def test_the_brokers_are_not_blamed_for_more_than_their_deaths_explain() -> None:
    verdict = audit(ENDS, history()[2:], COMMITS)
    verdict.blame_the_brokers("unmarked", {(0, 0), (0, 1)}, at_most=1)
    assert counts(verdict) == {"lost": 2}


def test_where_so_much_is_lost_that_not_all_is_noted_a_place_is_known_whoever_is_to_blame() -> None:
    verdict = audit({0: 101}, [], committed({0: 101}))
    verdict.blame_the_brokers("unmarked", {(0, offset) for offset in range(100)}, at_most=1000)
    assert counts(verdict) == {"lost": 1, "unmarked": 100}
    assert verdict.places["lost"] == ["partition 0, offset 100"]


def test_a_good_image_that_ends_as_a_dead_letter_is_given_up_which_many_may_not_be() -> None:
    told = [dead(each) for each in history()]
    verdict = audit(ENDS, told, COMMITS, {(0, 1): SOUND, (0, 2): SOUND, (0, 3): FICKLE})
    assert counts(verdict) == {"given_up": 2}
    assert verdict.missed() == ["given_up"]
    verdict.events = 200
    assert verdict.missed() == []


@pytest.mark.parametrize("event", [SOUND, FICKLE])
def test_a_dead_letter_for_a_reason_that_its_event_does_not_give_is_never_allowed(event: Event) -> None:
    told = history()
    told[1] = dead(told[1], "internal_error")
    verdict = audit(ENDS, told, COMMITS, {(0, 1): event})
    assert counts(verdict) == {"wrong_reason": 1}
    verdict.events = 1000
    assert verdict.missed({"repeated", "held_back", "out_of_order"}) == ["wrong_reason"]


@pytest.mark.parametrize(
    "other",
    [
        replace(SOUND, id="another"),
        replace(SOUND, label="b"),
        replace(SOUND, label=None),
    ],
)
def test_an_outcome_with_another_events_id_or_label_is_mixed_up(other: Event) -> None:
    verdict = audit(ENDS, history(), COMMITS, {(0, 0): SOUND, (0, 1): other})
    assert counts(verdict) == {"mixed_up": 1}
    assert verdict.missed({"repeated", "held_back", "out_of_order"}) == ["mixed_up"]


def test_a_dead_letter_with_another_events_id_is_mixed_up() -> None:
    told = [dead(each) for each in history()]
    assert counts(audit(ENDS, told, COMMITS, {(0, 1): replace(FICKLE, id="another")})) == {"mixed_up": 1}


def test_a_second_outcome_is_a_repeat_and_no_disorder() -> None:
    verdict = audit(ENDS, [*history(), outcome(0, 1, at=9), outcome(0, 2, at=10)], COMMITS)
    assert counts(verdict) == {"repeated": 2}
    assert verdict.missed({"repeated"}) == []
    assert verdict.missed() == ["repeated"]


def test_more_repeats_than_events_are_too_many_where_some_are_allowed() -> None:
    again = [outcome(0, 1, at=10 + n) for n in range(8)]
    assert audit(ENDS, [*history(), *again[:7]], COMMITS).missed({"repeated"}) == []
    assert audit(ENDS, [*history(), *again], COMMITS).missed({"repeated"}) == ["repeated"]


def test_a_repeat_in_another_topic_is_a_repeat() -> None:
    verdict = audit(ENDS, [*history(), outcome(0, 0, at=5, topic="dead")], COMMITS)
    assert counts(verdict) == {"repeated": 1}


def test_two_that_are_swapped_are_out_of_order() -> None:
    told = history()
    told[1], told[2] = replace(told[1], event=told[2].event, id=told[2].id), replace(told[2], event=(0, 1), id="x")
    assert counts(audit(ENDS, told, COMMITS)) == {"out_of_order": 1}


def test_what_overtakes_in_another_lane_or_from_another_partition_is_no_disorder() -> None:
    told = [outcome(0, 1, at=0), outcome(1, 0, at=1), outcome(0, 0, at=0, lane=1)]
    ends = {0: 2, 1: 1}
    assert counts(audit(ends, told, committed(ends))) == {}


def test_a_repeat_that_is_older_than_what_is_before_it_hides_no_disorder_behind_it() -> None:
    told = [outcome(0, 0, at=0), outcome(0, 2, at=1), outcome(0, 0, at=2), outcome(0, 1, at=3), outcome(0, 2, at=4)]
    assert counts(audit({0: 3}, told, committed({0: 3}))) == {"repeated": 2, "out_of_order": 1}


def test_the_place_of_an_event_that_may_have_another_outcome_when_done_again_is_not_judged_in_at_least_once() -> None:
    told = [outcome(0, 0, at=0), outcome(0, 2, at=1), outcome(0, 1, at=2), outcome(0, 3, at=3), *history()[4:]]
    assert counts(audit(ENDS, told, COMMITS)) == {"out_of_order": 1}
    assert counts(audit(ENDS, told, COMMITS, {(0, 1): FICKLE})) == {}
    assert counts(audit(ENDS, told, COMMITS, {(0, 3): FICKLE})) == {"out_of_order": 1}
    assert counts(audit(ENDS, told, COMMITS, {(0, 1): FICKLE}, exactly_once=True)) == {"out_of_order": 1}


def test_another_id_for_the_same_event_is_seen() -> None:
    verdict = audit(ENDS, [*history(), replace(outcome(0, 1, at=9), id="other")], COMMITS)
    assert counts(verdict) == {"repeated": 1, "unequal_id": 1}


def test_one_id_for_two_events_is_seen() -> None:
    told = history()
    told[3] = replace(told[3], id=told[2].id)
    assert counts(audit(ENDS, told, COMMITS)) == {"unequal_id": 1}


def test_the_verifier_shares_no_code_with_the_worker() -> None:
    program = "import sys, tests.chaos.verifier\nprint(*[name for name in sys.modules if name.startswith('worker')])"
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), timeout=60, check=True
    )
    assert process.stdout.split() == []


@pytest.mark.parametrize("back", [3, 0])
def test_an_offset_that_moved_back_and_forth_again_is_seen(back: int) -> None:
    commits = [*COMMITS, Committed(0, back, DONE_MS), Committed(0, 4, DONE_MS)]
    assert counts(audit(ENDS, history(), commits)) == {"moved_back": 1}


def test_the_same_offset_again_or_that_of_another_partition_is_no_move_back() -> None:
    assert counts(audit(ENDS, history(), [*COMMITS, *committed(ENDS)])) == {}


BACK = [*COMMITS, Committed(0, 2, 2500), Committed(0, 3, 2600), Committed(0, 4, 2700)]


def test_an_offset_that_goes_back_by_a_commit_that_came_late_is_held_back_and_goes_on_from_there() -> None:
    verdict = audit(ENDS, history(), BACK, late=[LateCommit(0, 1, 2100, 2600), LateCommit(0, 2, 2450, 2550)])
    assert counts(verdict) == {"held_back": 1}
    assert verdict.missed() == ["held_back"]
    assert verdict.missed({"held_back"}) == []


@pytest.mark.parametrize(
    "other",
    [
        LateCommit(0, 1, 2000, 3000),
        LateCommit(0, 3, 2000, 3000),
        LateCommit(1, 2, 2000, 3000),
        LateCommit(0, 2, 2000, 2400),
        LateCommit(0, 2, 2600, 3000),
    ],
)
def test_that_another_commit_came_late_or_this_one_at_another_time_excuses_nothing(other: LateCommit) -> None:
    assert audit(ENDS, history(), BACK, late=[other]).missed({"held_back"}) == ["moved_back"]


def test_a_commit_that_came_late_excuses_one_that_goes_back_and_no_second() -> None:
    commits = [*BACK, Committed(0, 2, 2800), Committed(0, 4, 2900)]
    assert counts(audit(ENDS, history(), commits, late=[LateCommit(0, 2, 2000, 3000)])) == {
        "moved_back": 1,
        "held_back": 1,
    }


@pytest.mark.parametrize("exactly_once", [False, True])
def test_a_commit_before_an_outcome_of_what_it_is_beyond_has_passed_it(exactly_once: bool) -> None:
    told = history()
    told[1] = replace(told[1], appended_ms=1900)
    early, due = Committed(0, 2, 1800), Committed(0, 1, 1800)
    verdict = audit(ENDS, told, [early, *COMMITS], exactly_once=exactly_once)
    assert counts(verdict) == {"passed": 1}
    assert verdict.missed({"repeated", "held_back", "out_of_order"}) == ["passed"]
    assert counts(audit(ENDS, told, [due, *COMMITS], exactly_once=exactly_once)) == {}


def test_of_two_outcomes_of_an_event_the_first_one_lets_a_commit_pass() -> None:
    late = replace(outcome(0, 1, at=9), appended_ms=DONE_MS + 500)
    assert counts(audit(ENDS, [*history(), late], COMMITS)) == {"repeated": 1}


def test_a_commit_beyond_the_end_has_passed_it_and_is_not_the_last_one_that_was_due() -> None:
    assert counts(audit(ENDS, history(), [*COMMITS, Committed(1, 4, DONE_MS)])) == {"passed": 1, "uncommitted": 1}


def test_where_the_history_of_a_partition_ends_before_its_end_it_is_uncommitted() -> None:
    verdict = audit(ENDS, history(), COMMITS[:2])
    assert counts(verdict) == {"uncommitted": 1}
    assert verdict.missed({"repeated", "held_back", "out_of_order"}) == ["uncommitted"]
    assert counts(audit(ENDS, history(), [])) == {"uncommitted": 2}
