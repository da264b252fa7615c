"""What each threshold on a label's score would do, and which two to take. PURE.

Unlike confidence, a label's score counts whether or not it is the highest, as it does in the worker's policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.trial.answers import Answers, Floats, Indices
from worker.trial.labels import ENOUGH

THRESHOLDS = np.arange(1, 100) / 100
TARGET = 0.95

RULE = (
    f"Act from the lowest score at which {TARGET:.0%} of at least {ENOUGH} images taken are right; "
    f"review from the highest that still finds {TARGET:.0%} of the label's images. What is right depends on what comes:"
    " it holds where labels are mixed as they are in the manifest."
)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Two thresholds for a label, either of which may be missing, and what they do on these images."""

    review: float | None
    """From here on a person looks."""
    act: float | None
    """From here on the label is believed."""
    note: str
    """Why one is missing; empty where none is."""
    reviewed: float
    """Share of all images that lie between the two."""
    missed: float
    """Share of the label's images that lie below both."""
    wrong: float | None
    """Share of the images acted on that have another label. None where none is."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One label at every threshold of `THRESHOLDS`. One with too few images has no points."""

    label: str
    images: int
    taken: Sequence[int]
    """Images of any label with a score that reaches the threshold."""
    hits: Sequence[int]
    """Those of them that have the label."""
    suggestion: Suggestion | None
    why_not: str
    """Why there is no suggestion; empty where there is one."""


def curves(answers: Answers, names: Sequence[str]) -> list[Curve]:
    """Those of all labels that have images."""
    images = np.bincount(answers.truth, minlength=answers.classes)
    order = np.argsort(answers.label, kind="stable")
    edges = np.searchsorted(answers.label[order], np.arange(answers.classes + 1))
    found = []
    for label in np.flatnonzero(images).tolist():
        many, kept = int(images[label]), order[edges[label] : edges[label + 1]]
        if many < ENOUGH:
            found.append(Curve(names[label], many, (), (), None, f"only {many} of the {ENOUGH} images that it takes"))
        else:
            found.append(_curve(answers, label, names[label], many, kept))
    return found


def _curve(answers: Answers, label: int, name: str, images: int, kept: Indices) -> Curve:
    """`kept`: the places in `answers.score` that are this label's."""
    score = answers.score[kept]
    right = answers.truth[answers.image[kept]] == label
    taken, hits = _reaching(score), _reaching(score[right])
    suggestion = _suggest(taken, hits, images, len(answers.truth))
    why_not = "" if suggestion else f"no threshold is precise enough, and {_finds(hits, images)}"
    return Curve(name, images, taken.tolist(), hits.tolist(), suggestion, why_not)


def _reaching(score: Floats) -> Indices:
    """(99,): how many scores reach each threshold."""
    return len(score) - np.searchsorted(np.sort(score), THRESHOLDS.astype(np.float32))


def _suggest(taken: Indices, hits: Indices, images: int, all_images: int) -> Suggestion | None:
    precise = np.flatnonzero((taken >= ENOUGH) & (hits >= TARGET * taken))
    finding = np.flatnonzero(hits >= TARGET * images)
    act = int(precise[0]) if len(precise) else None
    look = int(finding[-1]) if len(finding) else None
    note = "" if act is not None else "no threshold is precise enough"
    if look is None:
        note = _finds(hits, images)
    elif act is not None and act <= look:
        look, note = None, "acting alone finds enough"
    lowest = look if look is not None else act
    if lowest is None:
        return None
    acted = int(taken[act]) if act is not None else 0
    return Suggestion(
        review=None if look is None else float(THRESHOLDS[look]),
        act=None if act is None else float(THRESHOLDS[act]),
        note=note,
        reviewed=0.0 if look is None else (int(taken[look]) - acted) / all_images,
        missed=1 - int(hits[lowest]) / images,
        wrong=1 - int(hits[act]) / acted if act is not None else None,
    )


def _finds(hits: Indices, images: int) -> str:
    return f"even {THRESHOLDS[0]:g} finds only {hits[0] / images:.0%} of its images"
