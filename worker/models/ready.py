"""From the settings to a model that is ready for batches, and how large those are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import structlog

from worker.models.calibrate import Limits, choose, measure
from worker.models.classifier import Classifier, OutOfMemory, Prepares
from worker.models.load import Loaded, Provenance, load_known
from worker.models.settings import BatchSettings, ModelSettings

log = structlog.get_logger(__name__)

_LARGEST_MEASURED = 64
_MEASURED_FOR_S = 8.0
"""Of batch sizes, at a start with batch.max_size at `auto`."""


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model, and the batches that it gets."""

    classifier: Classifier
    batch: BatchSettings
    """With a number for `max_size`."""
    provenance: Provenance | None
    """Where it comes from; None of a classifier that was given."""


def load_model(model: ModelSettings, batch: BatchSettings, given: Classifier | Loaded | None) -> Model:
    """The model that the settings name, or the one given. Raises ConfigurationError and Fatal as `load_known` does."""
    loaded = load_known(model) if given is None else given
    if not isinstance(loaded, Loaded):
        return Model(loaded, _settled(batch, loaded), None)
    return Model(loaded.classifier, _settled(batch, loaded.classifier), loaded.provenance)


def fill_up(model: Model) -> None:
    """Compile what is to be compiled, and run one full batch: then the largest activations have been in memory once.

    Where it does not fit, batches will be split: said here, when the operator looks. Raises Fatal where it fails.
    """
    classifier, size = model.classifier, model.batch.size
    if isinstance(classifier, Prepares):
        classifier.prepare(size)
    recipe = classifier.recipe
    while size:
        try:
            classifier.predict(np.zeros((size, recipe.height, recipe.width, 3), np.uint8))
            return
        except OutOfMemory as error:
            log.warning("device.too_small", why=str(error), next="batches are split; lower batch.max_size")
            size //= 2


def _settled(batch: BatchSettings, classifier: Classifier) -> BatchSettings:
    if batch.max_size != "auto":
        return batch
    found = measure(classifier, _LARGEST_MEASURED, _MEASURED_FOR_S, Limits())
    chosen = choose(found, Limits())
    rates = {each.size: round(each.images_per_s, 1) for each in found}
    log.info("batch.measured", images_per_s=rates, chosen=chosen.size)
    return batch.model_copy(update={"max_size": chosen.size})
