"""The contract that a model's backend keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from worker.errors import Fatal, WorkerError
from worker.recipe import InputRecipe
from worker.records import Head, ModelIdentity

PixelBatch = npt.NDArray[np.uint8]
"""(N, H, W, 3) uint8, RGB, C-contiguous, at the size of the model's input recipe."""
ScoreBatch = npt.NDArray[np.float32]
"""(N, L) float32: for each image one score for each label."""


class OutOfMemory(WorkerError):
    """The device's memory was too small for this batch. Nothing is broken: a smaller batch may fit."""


class Classifier(Protocol):
    """A loaded model. `predict` is called by one thread at a time, not always the one that loaded it."""

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the scores, in their order. Two may be equal: ImageNet has two cranes."""

    @property
    def recipe(self) -> InputRecipe:
        """What the decoder makes of an image; scale and shift are the backend's own business."""

    def predict(self, batch: PixelBatch) -> ScoreBatch:
        """Probabilities of each image: softmax over the labels, or a sigmoid each where the model is multi-label.

        The batch is the caller's: it may be overwritten as soon as this returns, and is never written to here.
        A row does not depend on the other images. Raises OutOfMemory when a smaller batch may do, Fatal when the
        device is lost; any other exception is taken as the fault of an image in the batch.
        """


def black(recipe: InputRecipe) -> PixelBatch:
    """A batch of one black image: every model has scores for it."""
    return np.zeros((1, recipe.height, recipe.width, 3), np.uint8)


def no_numbers(identity: ModelIdentity) -> Fatal:
    """What to say of a model whose scores are not finite even for a black image."""
    return Fatal(
        f"the model {identity.name} gives scores that are not finite numbers, for a black image too: it is broken, or"
        f" overflows in {identity.precision}; set model.precision to fp32"
    )


def head_of(classifier: Classifier) -> Head:
    """Labels and identity as they are now."""
    return Head(classifier.identity, classifier.labels)


@runtime_checkable
class Prepares(Protocol):
    """A classifier that has work to do before the first batch: compiling, filling caches."""

    def prepare(self, max_size: int) -> None:
        """Get ready for batches of up to `max_size` images. Called once. Raises Fatal where that fails."""


@runtime_checkable
class WorksAhead(Protocol):
    """A classifier whose device works on its own, so that one batch's way there hides behind another's computation."""

    def begin(self, batch: PixelBatch) -> Callable[[], ScoreBatch]:
        """Start on a batch and return at once; what is returned waits for the scores, as `predict` gives them.

        The batch is read until then. Batches end in the order in which they began. Raises as `predict` does.
        """


@runtime_checkable
class Renews(Protocol):
    """A classifier whose labels can change while it runs."""

    @property
    def renewal_waits(self) -> bool:
        """Whether `renew` would change something."""

    def renew(self) -> None:
        """Take up what was changed. Called while no batch is under way; `identity` and `labels` change nowhere else."""


@runtime_checkable
class Relabels(Protocol):
    """A zero-shot model: it scores whatever labels it is given."""

    def relabel(self, labels: Sequence[str]) -> ModelIdentity:
        """Have these labels from the next batch on (see `Renews`); the identity that outcomes will have then.

        May be called in any thread; meanwhile the model goes on with the labels it has. Raises ConfigurationError where
        a label is too long for the model, Fatal where the device fails.
        """

    def about(self, labels: Sequence[str], template: str) -> Classifier:
        """The same model with these labels in this prompt, beside this one."""
