"""Small models, locked and exported as the commands do it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.models import checkpoints
from worker.models import export as exporting
from worker.models.classifier import Classifier
from worker.models.load import load
from worker.models.provenance.lock import read, write
from worker.models.provenance.locking import lock_of
from worker.models.settings import ModelSettings

CARD = "---\nlicense: mit\n---\n"


def export(folder: Path, family: str, *, int8: bool = False, **config: Any) -> Path:
    """A model of the family with its lock and exports in the folder; returns the lock."""
    directory = checkpoints.save(family, folder / family, **config)
    (directory / "README.md").write_text(CARD)
    path = folder / f"{family}.lock.toml"
    write(lock_of(str(directory), ModelSettings(device="cpu")), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "_RATE_S", 0.0)
        for make in (exporting.export, exporting.quantise)[: 1 + int8]:
            locked = read(path)
            write(exporting.with_export(locked, make(ModelSettings(), locked, path)), path)
    return path


def loaded(lock: Path, runtime: str = "onnx", **settings: Any) -> Classifier:
    """The model of a lock, whose directory lies beside it."""
    source = str(lock.with_name(lock.name.partition(".")[0]))
    return load(ModelSettings(source=source, lock=lock, runtime=runtime, device="cpu", **settings))
