"""Scores to a decision: which label decided, which action follows, which topic the action has. PURE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from worker.errors import ConfigurationError
from worker.knobs import Section
from worker.records import Decision

UNSCANNABLE = "unscannable"
"""The label of an image that cannot be decoded."""


class PolicySettings(Section):
    """Which score of which label leads to which action."""

    actions: tuple[str, ...] = Field(
        ("block", "review", "allow"), min_length=1, description="Names of the actions, the gravest first."
    )
    fallback: str = Field("allow", description="The action where no threshold is reached.")
    thresholds: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description="For each label, the score from 0 to 1 at which each action begins, such as "
        "`thresholds.weapon = {block = 0.9, review = 0.5}`. The gravest action that any label reaches is taken.",
    )
    unscannable: str | None = Field(
        None,
        description="The action for an image that cannot be decoded: it becomes a classification with the label "
        "`unscannable`. Unset: it becomes a dead letter. The fallback is not taken for it: what nobody could look at "
        "is not harmless.",
    )
    topics: dict[str, str] = Field(
        default_factory=dict,
        description="A topic of its own for an action: its classifications go there instead of to the results.",
    )

    @model_validator(mode="after")
    def _actions_are_known(self) -> Self:
        named = {self.fallback, *self.topics, *(action for rules in self.thresholds.values() for action in rules)}
        if self.unscannable is not None:
            named.add(self.unscannable)
        if unknown := sorted(named.difference(self.actions)):
            raise ValueError(f"{', '.join(unknown)}: not among the actions ({', '.join(self.actions)})")
        for label, rules in self.thresholds.items():
            if wrong := [score for score in rules.values() if not 0 <= score <= 1]:
                raise ValueError(f"the threshold of {label!r} is {wrong[0]}: write a score from 0 to 1")
        return self


@dataclass(frozen=True, slots=True)
class _Rule:
    """One action and the labels that lead to it."""

    action: str
    labels: npt.NDArray[np.intp]
    thresholds: npt.NDArray[np.float32]


class Policy:
    """The settings' thresholds, resolved against the labels. Raises ConfigurationError where one is not among them."""

    def __init__(self, settings: PolicySettings, labels: Sequence[str]) -> None:
        self._settings = settings
        self._labels = labels
        self._fallback = settings.fallback
        self._topics = settings.topics
        self._gravity = {action: -place for place, action in enumerate(settings.actions)}
        action = settings.unscannable
        self.unscannable = None if action is None else Decision(UNSCANNABLE, 0.0, action)
        """The decision on an image that cannot be decoded; None where it is to be a dead letter."""
        for label in settings.thresholds:
            _check_label(label, labels)
        rules = (_rule(action, settings, labels) for action in settings.actions)
        self._rules = tuple(rule for rule in rules if len(rule.labels))

    def of(self, labels: Sequence[str]) -> Policy:
        """The same settings for these labels; itself where they are the same object."""
        return self if labels is self._labels else Policy(self._settings, labels)

    def decide(self, scores: npt.NDArray[np.float32]) -> Decision:
        """The gravest action that any label's score reaches, by its best such label; else the fallback, by the best.

        `scores`: (L,) float32, in the order of the model's labels.
        """
        for rule in self._rules:
            found = scores[rule.labels]
            reached = np.flatnonzero(found >= rule.thresholds)
            if len(reached):
                index = int(rule.labels[reached[found[reached].argmax()]])
                return Decision(self._labels[index], float(scores[index]), rule.action)
        index = int(scores.argmax())
        return Decision(self._labels[index], float(scores[index]), self._fallback)

    def gravest(self, decisions: Sequence[Decision]) -> int:
        """Which of the decisions on an image's frames is the image's: the gravest action, then the highest score."""
        return max(range(len(decisions)), key=lambda index: self._weight(decisions[index]))

    def _weight(self, decision: Decision) -> tuple[int, float]:
        return self._gravity[decision.action], decision.score

    def topic(self, action: str) -> str | None:
        """The action's own topic, if it has one."""
        return self._topics.get(action)


def _rule(action: str, settings: PolicySettings, labels: Sequence[str]) -> _Rule:
    # A label's name may stand more than once in a model (ImageNet has two cranes): a threshold holds for each.
    entries = [
        (index, settings.thresholds[label][action])
        for index, label in enumerate(labels)
        if action in settings.thresholds.get(label, {})
    ]
    return _Rule(
        action,
        np.array([index for index, _ in entries], dtype=np.intp),
        np.array([threshold for _, threshold in entries], dtype=np.float32),
    )


def _check_label(label: str, labels: Sequence[str]) -> None:
    if label not in labels:
        raise ConfigurationError(f"policy.thresholds: the model has no label {label!r}; {hint(label, labels)}")


def hint(label: str, labels: Sequence[str]) -> str:
    """What may have been meant by a label that the model does not have."""
    close = get_close_matches(label, labels, n=3)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else f"it has {', '.join(labels[:10])}, ..."
