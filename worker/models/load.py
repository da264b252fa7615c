"""The way to a loaded model. A backend is imported when it is loaded: nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from worker.errors import ConfigurationError, Fatal
from worker.models import plugins, runtimes
from worker.models.classifier import Classifier, OutOfMemory, black, no_numbers
from worker.models.lines import first_line
from worker.models.provenance import licence, verify
from worker.models.provenance.files import ModelFiles, is_pinned, locate
from worker.models.provenance.lock import Lock, read
from worker.models.settings import DEMO, ModelSettings


@dataclass(frozen=True, slots=True)
class Provenance:
    """What is known of where a loaded model comes from."""

    source: str
    lock: str | None = None
    """The lock file that the model was held against, and found the same."""
    licence: str | None = None
    """As the lock states it; None without a lock."""
    licence_accepted: str | None = None
    """Who accepted the licence, where somebody had to."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model, loaded and warm, and where it comes from."""

    classifier: Classifier
    provenance: Provenance


def load(settings: ModelSettings) -> Classifier:
    """The model that the settings name; see `load_known`."""
    return load_known(settings).classifier


def load_known(settings: ModelSettings) -> Loaded:
    """The model that the settings name, loaded and warm, and where they name a lock, the same as the lock says.

    Raises ConfigurationError where the settings are wrong, Fatal where the model cannot be used, or differs from its
    lock: each line of the text says what, and what to do. Files are held against their hashes before one is parsed.
    """
    if (load_plugin := plugins.loader(settings.runtime)) is not None:
        return _by_plugin(settings, load_plugin)
    lock, source, files = sources(settings)
    if lock is None:
        return Loaded(load_files(settings, files, lock), Provenance(source))
    verify.require(verify.before_loading(lock, files), lock.name, settings.lock)
    accepted = licence.accepted(lock, settings)
    # The same bytes are the same model, whatever the directory's name is here.
    classifier = load_files(settings, replace(files, name=lock.name, revision=lock.revision), lock)
    verify.require(verify.of_model(lock, classifier), lock.name, settings.lock)
    return Loaded(classifier, Provenance(source, str(settings.lock), str(lock.licence), accepted))


def _by_plugin(settings: ModelSettings, load_plugin: plugins.Loader) -> Loaded:
    if settings.lock is not None:
        raise ConfigurationError(
            f"model.lock: a lock holds files that this package loads itself, and model.runtime is {settings.runtime!r}:"
            " leave one of them out"
        )
    try:
        classifier = load_plugin(settings)
        warm_up(classifier)
    except Fatal:
        raise
    except Exception as error:
        raise Fatal(
            f"model.runtime: the backend {settings.runtime!r} is broken ({type(error).__name__}: {first_line(error)}):"
            " run the contract's tests on it (docs/backends.md)"
        ) from error
    return Loaded(classifier, Provenance(settings.source or settings.runtime))


def sources(settings: ModelSettings) -> tuple[Lock | None, str, ModelFiles]:
    """The lock where the settings name one, the model's source, and its files. Raises as `load_known` does."""
    lock = read(settings.lock.expanduser()) if settings.lock else None
    source = source_of(settings, lock)
    return lock, source, locate(source)


def source_of(settings: ModelSettings, lock: Lock | None) -> str:
    """Where the model is. Raises ConfigurationError where it is not here, or settings and lock name two of the hub."""
    if lock is None:
        return settings.source or DEMO
    source = settings.source or lock.source
    if settings.source is None and not (source == DEMO or is_pinned(source) or Path(source).expanduser().exists()):
        raise ConfigurationError(
            f"{settings.lock} locks the model in {source!r}, which is not here: start in the folder that this path"
            " counts from, or name its place in model.source"
        )
    if source != lock.source and is_pinned(source) and is_pinned(lock.source):
        raise ConfigurationError(
            f"model.source is {source}, but {settings.lock} locks {lock.source}: leave model.source out, or lock anew"
        )
    return source


def load_files(settings: ModelSettings, files: ModelFiles, lock: Lock | None) -> Classifier:
    """The model in these files or in an export that the lock names, loaded and warm. Raises as `load_known` does."""
    classifier = runtimes.opened(settings, files, lock)
    warm_up(classifier)
    return classifier


def warm_up(classifier: Classifier) -> None:
    """Runs one black image through the model. Raises Fatal where it fails or breaks the contract."""
    name, count = classifier.identity.name, len(classifier.labels)
    try:
        scores = classifier.predict(black(classifier.recipe))
    except OutOfMemory as error:
        raise Fatal(f"model {name} does not fit the device with one image: {error}; use a smaller model") from error
    except Fatal:
        raise
    except Exception as error:
        raise Fatal(
            f"model {name} fails on a black image ({type(error).__name__}: {first_line(error)}): do its files, and its"
            " image processor's size, belong together?"
        ) from error
    if (shape := getattr(scores, "shape", None)) != (1, count):
        raise Fatal(f"model {name} gave scores of shape {shape} for {count} labels")
    if not np.isfinite(scores).all():
        raise no_numbers(classifier.identity)
