"""The labels of a zero-shot model: from the settings, or from a file that may change."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from worker.errors import ConfigurationError
from worker.models.settings import ModelSettings

ZERO_SHOT = ("clip", "siglip")
"""The `model_type` in config.json of the models that have no labels of their own."""

_MOST = 10_000
_LARGEST_FILE_BYTES = 2_000_000


def labels_of(settings: ModelSettings) -> tuple[str, ...]:
    """The labels that the settings give, in their order. Raises ConfigurationError where they are no label set."""
    if settings.labels_file is None:
        return checked(settings.labels, "model.labels")
    return read_labels(settings.labels_file)


def require_none(settings: ModelSettings, name: str) -> None:
    """Raises ConfigurationError where labels are given for a model that has its own."""
    if settings.labels or settings.labels_file:
        raise ConfigurationError(
            f"model.labels: {name} is no zero-shot model ({', '.join(ZERO_SHOT)}) and has labels of its own: leave"
            " model.labels and model.labels_file out"
        )


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of a file in UTF-8, one a line; empty lines do not count. Raises ConfigurationError."""
    where = f"model.labels_file: {path}"
    if path.exists() and not path.is_file():  # a FIFO would be waited for, for good
        raise ConfigurationError(f"{where} is no regular file: write the labels into one, one a line")
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_FILE_BYTES + 1)
        if len(text) > _LARGEST_FILE_BYTES:
            raise ConfigurationError(f"{where} is larger than {_LARGEST_FILE_BYTES:,} bytes: write one label a line")
        lines = text.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigurationError(f"{where} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{where} is not UTF-8: {error.reason} at byte {error.start}") from error
    return checked([line.strip() for line in lines if line.strip()], where)


def checked(labels: Sequence[str], where: str) -> tuple[str, ...]:
    """The labels, if they are at least one, no two alike, and not too many. Raises ConfigurationError."""
    if not labels:
        raise ConfigurationError(f"{where}: a zero-shot model has no labels of its own: write at least one")
    if len(labels) > _MOST:
        raise ConfigurationError(f"{where}: {len(labels)} labels are more than {_MOST}")
    if doubled := sorted(label for label, count in Counter(labels).items() if count > 1):
        raise ConfigurationError(f"{where}: {doubled[0]!r} stands there twice: write each label once")
    return tuple(labels)


def version(labels: Sequence[str], templates: Sequence[str], tokens: Sequence[Sequence[int]]) -> str:
    """12 hex digits over the labels, their prompts, and the tokens that the model's tokenizer makes of them."""
    whole = json.dumps([list(labels), list(templates), [list(ids) for ids in tokens]], ensure_ascii=False)
    return hashlib.sha256(whole.encode()).hexdigest()[:12]
