"""Golden outputs: a model's scores for the package's own photographs, and how far they may move."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO

import numpy as np

from worker.errors import Fatal
from worker.models.classifier import Classifier, Relabels
from worker.models.prepare import pixels
from worker.models.provenance.lock import Golden, significant

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.png")
LABELS = ("an astronaut", "a cat", "a cup of coffee", "a rocket")
"""What a zero-shot model is asked about them: the operator's own labels may change from day to day."""
TEMPLATE = "This is a photo of {}."
"""And how, whatever the operator's own prompts are."""
FULL_TOLERANCE = 1e-4
"""Of each score in fp32. Between one machine and another the sums are done in another order."""
REDUCED_TOLERANCE = 0.1
"""Of each score in any lower precision. On a CPU the demo's model was seen to move by 0.042 in bf16 and by 0.003 in
fp16; one that moves by more than this is another model to a policy with thresholds."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A photograph's scores against the locked ones."""

    photograph: str
    difference: float
    """The largest change of a score."""
    label: str
    """Whose score changed so."""
    best: str
    """The label with the highest score now."""
    trouble: str | None
    """What is not as it must be; None where all is well."""


def photograph(name: str) -> bytes:
    """The file of one of PHOTOGRAPHS."""
    return (files("worker.models") / "photographs" / name).read_bytes()


def comparable(classifier: Classifier) -> Classifier:
    """The model whose outputs are locked: itself, or where it is zero-shot, the same about LABELS."""
    return classifier.about(LABELS, TEMPLATE) if isinstance(classifier, Relabels) else classifier


def outputs(classifier: Classifier) -> Iterator[Golden]:
    """The model's scores for each photograph. Raises Fatal where they are no finite numbers."""
    for name in PHOTOGRAPHS:
        image = photograph(name)
        # One by one: a model that has room for one image only can be held against its lock too.
        scores = classifier.predict(pixels(classifier.recipe, BytesIO(image)))[0]
        if not np.isfinite(scores).all():
            raise Fatal(
                f"model {classifier.identity.name} gives scores that are no numbers for {name} in"
                f" {classifier.identity.precision}: use another precision, or another model"
            )
        yield Golden(name, hashlib.sha256(image).hexdigest(), significant(scores.tolist()))


def compare(locked: Golden, now: Golden, labels: tuple[str, ...], precision: str) -> Comparison:
    """Two scores of the same photograph: within the tolerance of the precision, and with the same best label.

    In fp32 the tolerance alone rules. In a lower precision the best label must stay too, unless the locked scores of
    the best two are closer to each other than the tolerance.
    """
    before, after = np.array(locked.scores), np.array(now.scores)
    changes = np.abs(before - after)
    worst, first, best = int(changes.argmax()), int(before.argmax()), int(after.argmax())
    difference, trouble = float(changes[worst]), None
    tolerance = FULL_TOLERANCE if precision == "fp32" else REDUCED_TOLERANCE
    if locked.sha256 != now.sha256:
        trouble = "is another photograph in this release: lock the model anew"
    elif difference > tolerance:
        scores = f"{before[worst]:.6g} in the lock, {after[worst]:.6g} here"
        trouble = f"the score of {labels[worst]!r} is {scores}: more than {tolerance:g} apart"
    elif best != first and precision != "fp32" and before[first] - before[best] > tolerance:
        trouble = f"the best label is {labels[first]!r} in the lock, {labels[best]!r} here"
    return Comparison(locked.photograph, difference, labels[worst], labels[best], trouble)
