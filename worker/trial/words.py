"""Figures in words, for the terminal and the page."""

from __future__ import annotations

from worker.trial.bootstrap import Estimate
from worker.trial.comparison import Comparison

_CHANCE = 0.05
_NONE = "–"


def share(value: float | None) -> str:
    """`89.2 %`."""
    return _NONE if value is None else f"{100 * value:.1f} %"


def number(value: float | None, digits: int = 2) -> str:
    """`0.90`."""
    return _NONE if value is None else f"{value:.{digits}f}"


def interval(estimate: Estimate) -> str:
    """`85.2 to 92.8 %`; empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f} %"


def verdict(comparison: Comparison) -> str:
    """What a comparison comes to, in one sentence."""
    differing = comparison.only_before + comparison.only_now
    if not differing:
        return f"Both are right on the same {comparison.both_right} of {comparison.images} images."
    better = "This" if comparison.only_now > comparison.only_before else "The baseline"
    if comparison.p < _CHANCE:
        return f"{better} is better, by more than chance would explain (p = {_p(comparison.p)})."
    return (
        f"No difference is shown: of {differing} images on which only one is right, {comparison.only_now} are this"
        f" model's, as chance may well divide them (p = {_p(comparison.p)})."
    )


def _p(p: float) -> str:
    return "under 0.0001" if p < 0.0001 else f"{p:.2g}"
