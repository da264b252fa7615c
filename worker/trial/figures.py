"""What answers add up to. PURE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.trial.answers import Answers
from worker.trial.bootstrap import Estimate, of_mean
from worker.trial.calibration import Bin, bins, ece
from worker.trial.confusions import Confusion, confusions
from worker.trial.labels import LabelFigures, labels, mean_recall
from worker.trial.review import Review, review
from worker.trial.thresholds import Curve, curves


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a trial, over the images that were classified."""

    images: int
    distribution: bool
    """Whether an image's scores sum to 1; else each label has a probability of its own (multi-label)."""
    top1: Estimate
    top5: Estimate
    """None where there are no more than five labels: it would be 1 whatever the model."""
    mean_recall: Estimate
    ece: Estimate
    labels: Sequence[LabelFigures]
    confusions: Sequence[Confusion]
    bins: Sequence[Bin]
    review: Sequence[Review]
    thresholds: Sequence[Curve]


def add_up(answers: Answers, names: Sequence[str]) -> Figures:
    """The figures of answers, one at least. `names`: of the classes."""
    return Figures(
        images=len(answers.truth),
        distribution=answers.distribution,
        top1=of_mean(answers.right),
        top5=of_mean(answers.rank < 5) if answers.classes > 5 else Estimate(None),
        mean_recall=mean_recall(answers),
        ece=ece(answers),
        labels=labels(answers, names),
        confusions=confusions(answers, names),
        bins=bins(answers),
        review=review(answers),
        thresholds=curves(answers, names),
    )
