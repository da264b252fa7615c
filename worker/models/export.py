"""A locked model as ONNX files beside its lock: each is tried before it counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from worker import __version__
from worker.errors import ConfigurationError, Fatal
from worker.models import exports, fastest
from worker.models.backends import onnx, onnx_export, onnx_quantise, onnx_stamp
from worker.models.backends.torch import TorchClassifier
from worker.models.classifier import Classifier, PixelBatch
from worker.models.load import load_known
from worker.models.prepare import fitted
from worker.models.provenance import verify
from worker.models.provenance.files import ModelFiles, of_export
from worker.models.provenance.golden import FULL_TOLERANCE, PHOTOGRAPHS, photograph
from worker.models.provenance.lock import Export, Lock
from worker.models.settings import ModelSettings
from worker.recipe import InputRecipe

_BATCHES = (1, 5)
"""Sizes that are tried: one image, and a number that no round batch hides."""
_RATE_S = 1.0
_DIGITS = 4


def export(settings: ModelSettings, lock: Lock, lock_file: Path) -> Export:
    """The model in fp32 as one ONNX file beside its lock, its scores within 1e-4 of torch's in two sizes of batch.

    Raises ConfigurationError and Fatal as `load_known` does, and Fatal where the file's scores are others.
    """
    plain = {"lock": lock_file, "runtime": "torch", "compile": False, "deterministic": False}
    classifier = load_known(_on_a_cpu(settings, "fp32").model_copy(update=plain)).classifier
    if not isinstance(classifier, TorchClassifier):
        raise ConfigurationError(
            f"model {lock.name} cannot be exported: it is an ONNX file already, or zero-shot, whose labels come from"
            " the settings"
        )
    graph = onnx_export.graph_of(classifier.score, classifier.recipe)
    onnx_stamp.write(graph, _stamp(lock, classifier, "fp32"))
    tried = partial(_difference, settings, reference=classifier)
    return _kept(graph.SerializeToString(), lock, lock_file, "fp32", tried)


def quantise(settings: ModelSettings, lock: Lock, lock_file: Path) -> Export:
    """The locked fp32 export with its matrix products in int8, as a file beside it. What it loses is in its facts."""
    source = exports.locked(lock, lock_file, "fp32")
    path = source.directory / source.files[0].name
    full = onnx.load(_on_a_cpu(settings, "fp32"), source)
    graph = onnx_quantise.int8_of(path)
    onnx_stamp.write(graph, _stamp(lock, full, "int8"))
    return _kept(graph.SerializeToString(), lock, lock_file, "int8", partial(_loss, settings, full=full))


def refusals(settings: ModelSettings, lock: Lock, lock_file: Path) -> list[str]:
    """Why a worker with this lock would not start with its int8 export: a line each, none where it would."""
    classifier = onnx.load(_on_a_cpu(settings, "int8"), exports.locked(lock, lock_file, "int8"))
    return [f"{found.subject}: {found.text}" for found in verify.of_model(lock, classifier) if not found.ok]


def with_export(lock: Lock, export: Export) -> Lock:
    """The lock with this export in the place of the one in the same precision."""
    others = (other for other in lock.exports if other.precision != export.precision)
    return replace(lock, exports=(*others, export))


def with_facts(lock: Lock, precision: str, facts: Mapping[str, float]) -> Lock:
    """The lock with more facts on its export in a precision."""
    export = next(export for export in lock.exports if export.precision == precision)
    return with_export(lock, replace(export, facts=export.facts | _rounded(facts)))


def _rounded(facts: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.{_DIGITS}g}") for name, value in facts.items()}


def _stamp(lock: Lock, source: Classifier, precision: str) -> onnx_stamp.Stamp:
    return onnx_stamp.Stamp(
        name=lock.name,
        revision=lock.revision,
        fingerprint=source.identity.fingerprint,
        licence=lock.licence,
        labels=source.labels,
        recipe=source.recipe,
        precision=precision,
        made_by=f"image-worker {__version__}",
    )


def _kept(
    data: bytes, lock: Lock, lock_file: Path, precision: str, tried: Callable[[ModelFiles], dict[str, float]]
) -> Export:
    """Writes the file where it belongs, after it was tried. Nothing is left where that fails."""
    path = exports.path_beside(lock_file, precision)
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_bytes(data)
        made = of_export(fresh, lock.name, lock.revision)
        facts = _rounded(tried(made))
        fresh.replace(path)
    except OSError as error:
        raise Fatal(f"the export {path} cannot be written: {error.strerror}") from error
    finally:
        fresh.unlink(missing_ok=True)
    return Export(path.name, made.files[0].size, made.files[0].sha256, precision, facts)


def _difference(settings: ModelSettings, made: ModelFiles, reference: Classifier) -> dict[str, float]:
    """How far the export's scores are from torch's, in each size of batch. Raises Fatal where that is too far."""
    candidate, images = onnx.load(_on_a_cpu(settings, "fp32"), made), views(reference.recipe)
    expected, facts = reference.predict(images), {"images": float(len(images))}
    for size in _BATCHES:
        parts = [images[start : start + size] for start in range(0, len(images), size)]
        scores = np.concatenate([candidate.predict(part) for part in parts])
        facts[f"largest_difference_batch_{size}"] = worst = float(np.abs(scores - expected).max())
        if worst > FULL_TOLERANCE:
            raise Fatal(
                f"the export of {reference.identity.name} is not the model: in batches of {size} its scores are up to"
                f" {worst:.1e} from torch's, and {FULL_TOLERANCE:g} is allowed; run the model with torch"
            )
    return facts | {"speed_over_torch": _speed(candidate, reference, images)}


def _loss(settings: ModelSettings, made: ModelFiles, full: Classifier) -> dict[str, float]:
    """What int8 changes against fp32, and how much an image's scores depend on the batch that it is in."""
    candidate, images = onnx.load(_on_a_cpu(settings, "int8"), made), views(full.recipe)
    expected, together = full.predict(images), candidate.predict(images)
    alone = np.concatenate([candidate.predict(image[None]) for image in images])
    return {
        "images": len(images),
        "top1_agreement": float((together.argmax(axis=1) == expected.argmax(axis=1)).mean()),
        "largest_difference": float(np.abs(together - expected).max()),
        "largest_difference_by_batch": float(np.abs(together - alone).max()),
        "speed_over_fp32": _speed(candidate, full, images),
    }


def views(recipe: InputRecipe) -> PixelBatch:
    """The package's photographs, each whole and in quarters, and all of those mirrored: (40, H, W, 3)."""
    found = []
    for name in PHOTOGRAPHS:
        with Image.open(BytesIO(photograph(name))) as file:
            whole = file.convert("RGB")
        middle, lower = whole.width // 2, whole.height // 2
        corners = [(x, y, x + middle, y + lower) for x in (0, middle) for y in (0, lower)]
        for view in (whole, *(whole.crop(corner) for corner in corners)):
            found += [fitted(recipe, view), ImageOps.mirror(fitted(recipe, view))]
    return np.stack([np.asarray(view) for view in found])


def _speed(candidate: Classifier, reference: Classifier, images: PixelBatch) -> float:
    return fastest.rate(candidate, images, _RATE_S) / fastest.rate(reference, images, _RATE_S)


def _on_a_cpu(settings: ModelSettings, precision: str) -> ModelSettings:
    return settings.model_copy(update={"device": "cpu", "precision": precision})
