"""From a source to its lock."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from worker.models.load import load_files
from worker.models.provenance import whole
from worker.models.provenance.facts import facts_of
from worker.models.provenance.files import locate, pinned
from worker.models.provenance.golden import LABELS, comparable, outputs
from worker.models.provenance.lock import Lock
from worker.models.provenance.versions import OF_ONNX, OF_TRANSFORMERS, versions
from worker.models.settings import ModelSettings


def lock_of(source: str, settings: ModelSettings) -> Lock:
    """The lock of what a source names now, scored in fp32 on the device that the settings name.

    A branch or tag of the hub becomes the revision that it stands for. Raises ConfigurationError and Fatal where the
    source cannot be resolved, fetched or loaded.
    """
    source = pinned(source)
    files = locate(source)
    labels = LABELS if files.onnx is None and whole.is_zero_shot(files) else ()
    full = ModelSettings(device=settings.device, threads=settings.threads, labels=labels)
    classifier, facts = comparable(load_files(full, files, None)), facts_of(files)
    return Lock(
        source=source,
        name=files.name,
        revision=files.revision,
        architecture=facts.architecture,
        base_models=facts.base_models,
        licence=facts.licence,
        recipe=classifier.recipe,
        labels=classifier.labels,
        versions=versions(OF_ONNX if files.onnx else OF_TRANSFORMERS),
        files=files.files,
        golden=tuple(outputs(classifier)),
    )


def with_exports_of(old: Lock, new: Lock) -> Lock:
    """The new lock with the exports of the old one, where they were made of the same files."""
    return replace(new, exports=old.exports) if old.files == new.files else new


def doubled(labels: tuple[str, ...]) -> list[str]:
    """The labels that stand for several scores: a threshold for such a label holds for each of them."""
    return [label for label, count in Counter(labels).items() if count > 1]
