"""The auditor sees what is wrong: histories that were doctored."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from tests.chaos.books import KINDS, Committed, Found, Verdict, audit
from tests.cli import environment

ENDS = {0: 4, 1: 3}
COMMITS = [Committed(0, 2), Committed(1, 3), Committed(0, 4)]


def outcome(partition: int, offset: int, *, at: int, lane: int = 0, topic: str = "results") -> Found:
    return Found((partition, offset), f"id-{partition}-{offset}", (topic, lane), at, 1000 + at)


def history() -> list[Found]:
    """Every event once, in order: partition 0 in lane 0, partition 1 in both lanes and the dead letters."""
    return [
        *(outcome(0, offset, at=offset) for offset in range(4)),
        outcome(1, 0, at=4),
        outcome(1, 1, at=0, lane=1),
        outcome(1, 2, at=0, topic="dead"),
    ]


def counts(verdict: Verdict) -> dict[str, int]:
    """What is not zero."""
    return {kind: getattr(verdict, kind) for kind in KINDS if getattr(verdict, kind)}


def test_a_history_in_which_all_is_well_has_no_findings() -> None:
    verdict = audit(ENDS, history(), COMMITS)
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


def test_what_the_brokers_lost_is_counted_apart_and_is_no_aim_that_was_missed() -> None:
    verdict = audit(ENDS, history()[2:], COMMITS)
    assert verdict.missing == [(0, 0), (0, 1)]
    verdict.blame_the_brokers({(0, 1)})
    assert counts(verdict) == {"lost": 1, "unmarked": 1}
    assert (verdict.places["lost"], verdict.places["unmarked"]) == (
        ["partition 0, offset 0"],
        ["partition 0, offset 1"],
    )
    assert verdict.missed() == ["lost"]
    verdict.blame_the_brokers({(0, 0)})
    assert verdict.missed() == []


def test_a_good_image_that_ends_as_a_dead_letter_is_given_up_which_many_may_not_be() -> None:
    told = [replace(each, is_dead=True) for each in history()]
    verdict = audit(ENDS, told, COMMITS, sound={(0, 1), (0, 2)})
    assert counts(verdict) == {"given_up": 2}
    assert verdict.missed() == ["given_up"]
    verdict.events = 200
    assert verdict.missed() == []


def test_a_second_outcome_is_a_repeat_and_no_disorder() -> None:
    verdict = audit(ENDS, [*history(), outcome(0, 1, at=9), outcome(0, 2, at=10)], COMMITS)
    assert counts(verdict) == {"repeated": 2}
    assert verdict.missed({"repeated"}) == []
    assert verdict.missed() == ["repeated"]


def test_a_repeat_in_another_topic_is_a_repeat() -> None:
    verdict = audit(ENDS, [*history(), outcome(0, 0, at=5, topic="dead")], COMMITS)
    assert counts(verdict) == {"repeated": 1}


def test_two_that_are_swapped_are_out_of_order() -> None:
    told = history()
    told[1], told[2] = replace(told[1], event=told[2].event, id=told[2].id), replace(told[2], event=(0, 1), id="x")
    assert counts(audit(ENDS, told, COMMITS)) == {"out_of_order": 1}


def test_what_overtakes_in_another_lane_or_from_another_partition_is_no_disorder() -> None:
    told = [outcome(0, 1, at=0), outcome(1, 0, at=1), outcome(0, 0, at=0, lane=1)]
    assert counts(audit({0: 2, 1: 1}, told, [])) == {}


def test_a_repeat_that_is_older_than_what_is_before_it_hides_no_disorder_behind_it() -> None:
    told = [outcome(0, 0, at=0), outcome(0, 2, at=1), outcome(0, 0, at=2), outcome(0, 1, at=3), outcome(0, 2, at=4)]
    assert counts(audit({0: 3}, told, [])) == {"repeated": 2, "out_of_order": 1}


@pytest.mark.parametrize("back", [3, 0])
def test_an_offset_that_moved_back_and_forth_again_is_seen(back: int) -> None:
    commits = [*COMMITS, Committed(0, back), Committed(0, 4)]
    assert counts(audit(ENDS, history(), commits)) == {"moved_back": 1}


def test_the_same_offset_again_or_that_of_another_partition_is_no_move_back() -> None:
    assert counts(audit(ENDS, history(), [*COMMITS, Committed(0, 4), Committed(1, 3)])) == {}


def test_an_offset_that_is_lower_just_when_a_commit_came_late_is_held_back_and_goes_on_from_there() -> None:
    late = Committed(0, 2, at_ms=50)
    commits = [Committed(0, 4, at_ms=40), late, Committed(0, 3, at_ms=60), Committed(0, 4, at_ms=70)]
    verdict = audit(ENDS, history(), commits, late=[(10, 20), (50, 51)])
    assert counts(verdict) == {"held_back": 1}
    assert verdict.missed() == ["held_back"]
    assert counts(audit(ENDS, history(), commits, late=[(10, 49), (51, 60)])) == {"moved_back": 1, "held_back": 1}
    assert counts(audit(ENDS, history(), [*commits, Committed(0, 3, at_ms=80)], late=[(50, 50)])) == {
        "held_back": 1,
        "moved_back": 1,
    }


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


def test_the_place_of_an_event_that_may_have_another_outcome_when_done_again_is_not_judged() -> None:
    told = [outcome(0, 0, at=0), outcome(0, 2, at=1), outcome(0, 1, at=2), outcome(0, 3, at=3), *history()[4:]]
    assert counts(audit(ENDS, told, COMMITS)) == {"out_of_order": 1}
    assert counts(audit(ENDS, told, COMMITS, fickle={(0, 1)})) == {}
    assert counts(audit(ENDS, told, COMMITS, fickle={(0, 3)})) == {"out_of_order": 1}
