"""Scores to a decision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies
from pydantic import ValidationError

from worker.errors import ConfigurationError
from worker.policy import Policy, PolicySettings
from worker.records import Decision

LABELS = ("cat", "dog", "weapon", "dog")
SETTINGS = PolicySettings(
    thresholds={"weapon": {"block": 0.9, "review": 0.5}, "dog": {"review": 0.75}}, topics={"block": "blocked"}
)
scores = strategies.lists(strategies.floats(0, 1, width=32), min_size=4, max_size=4).map(
    lambda values: np.array(values, dtype=np.float32)
)


def decide(*values: float) -> Decision:
    return Policy(SETTINGS, LABELS).decide(np.array(values, dtype=np.float32))


def test_the_gravest_action_that_is_reached_is_taken() -> None:
    assert decide(0, 0.75, 0.9375, 0) == Decision("weapon", 0.9375, "block")


def test_a_lower_score_leads_to_the_lesser_action() -> None:
    assert decide(0.5, 0, 0.5, 0) == Decision("weapon", 0.5, "review")


def test_the_best_label_of_the_action_decides_and_a_name_that_stands_twice_counts_twice() -> None:
    assert decide(0, 0, 0.5, 0.875) == Decision("dog", 0.875, "review")


def test_without_a_threshold_reached_the_best_label_stands_and_the_fallback_follows() -> None:
    assert decide(0.5, 0.25, 0.125, 0.125) == Decision("cat", 0.5, "allow")


def test_an_action_may_have_a_topic_of_its_own() -> None:
    policy = Policy(SETTINGS, LABELS)
    assert policy.topic("block") == "blocked"
    assert policy.topic("allow") is None


def test_a_label_that_the_model_does_not_have_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'weapon'"):
        Policy(PolicySettings(thresholds={"weapons": {"block": 0.5}}), LABELS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"thresholds": {"cat": {"destroy": 0.5}}},
        {"thresholds": {"cat": {"block": 50}}},
        {"fallback": "pass"},
        {"topics": {"destroy": "t"}},
        {"unscannable": "destroy"},
    ],
)
def test_what_names_no_action_or_no_score_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PolicySettings(**wrong)  # type: ignore[arg-type]


def test_without_an_action_for_it_an_image_that_cannot_be_decoded_has_no_decision() -> None:
    assert Policy(SETTINGS, LABELS).unscannable is None


def test_an_image_that_cannot_be_decoded_gets_the_action_that_is_named() -> None:
    policy = Policy(PolicySettings(unscannable="review"), LABELS)
    assert policy.unscannable == Decision("unscannable", 0.0, "review")


def test_of_the_frames_the_gravest_action_decides_then_the_score_then_the_first() -> None:
    policy = Policy(SETTINGS, LABELS)
    allow, review, block = (
        Decision("cat", 1.0, "allow"),
        Decision("dog", 0.8, "review"),
        Decision("weapon", 0.9, "block"),
    )
    graver = Decision("dog", 0.9, "review")
    assert policy.gravest([allow]) == 0
    assert policy.gravest([allow, review, block, graver]) == 2
    assert policy.gravest([allow, review, graver]) == 2
    assert policy.gravest([review, allow, review]) == 0


@given(scores=scores)
def test_the_decision_is_the_gravest_rule_that_holds(scores: np.ndarray) -> None:
    decision = Policy(SETTINGS, LABELS).decide(scores)
    reached = {
        action
        for label, score in zip(LABELS, scores, strict=True)
        for action, threshold in SETTINGS.thresholds.get(label, {}).items()
        if score >= np.float32(threshold)
    }
    expected = next((action for action in SETTINGS.actions if action in reached), SETTINGS.fallback)
    assert decision.action == expected
    assert any(
        label == decision.label and score == np.float32(decision.score)
        for label, score in zip(LABELS, scores, strict=True)
    )


@given(scores=scores, raised=strategies.integers(0, 3))
def test_a_higher_score_never_leads_to_a_lesser_action(scores: np.ndarray, raised: int) -> None:
    policy = Policy(SETTINGS, LABELS)
    gravity = SETTINGS.actions.index
    before = policy.decide(scores)
    scores[raised] = 1.0
    assert gravity(policy.decide(scores).action) <= gravity(before.action)
