"""What stays light: no torch before a model is loaded, threads within the container's share, a free model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from worker.cpus import available_cpus
from worker.errors import Fatal
from worker.models.classifier import OutOfMemory, PixelBatch, ScoreBatch
from worker.models.load import warm_up
from worker.models.settings import BatchSettings, ModelSettings
from worker.testing import FreeClassifier

_LIGHT = "settings classifier batch runner inference provenance.files demo load thread"


def test_nothing_imports_torch_before_a_model_is_loaded() -> None:
    rooms = ", ".join(f"worker.models.{room}" for room in _LIGHT.split())
    code = f"import sys, {rooms}, worker.testing; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_knob_says_what_it_is_and_why() -> None:
    for section in (ModelSettings, BatchSettings):
        for name, knob in section.model_fields.items():
            assert len(knob.description or "") > 80, name


def test_unknown_knobs_and_wrong_values_are_refused() -> None:
    for wrong in ({"max_size": 0}, {"max_sise": 8}, {"max_age_ms": -1}):
        with pytest.raises(ValidationError):
            BatchSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "900000000 100000\n"}, None),
        ({}, None),
    ],
)
def test_the_containers_quota_bounds_the_cpus(files: dict[str, str], quota: int | None, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cpus(tmp_path) == (quota or len(os.sched_getaffinity(0)))


def test_the_free_model_tells_dark_from_bright() -> None:
    greys = np.repeat(np.array([0, 100, 180, 255], np.uint8), 224 * 224 * 3).reshape(4, 224, 224, 3)
    scores = FreeClassifier(labels=4).predict(greys)
    assert scores.argmax(axis=1).tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-6)


def test_warming_up_finds_a_model_that_breaks_the_contract() -> None:
    class Short(FreeClassifier):
        def predict(self, batch: PixelBatch) -> ScoreBatch:
            return super().predict(batch)[:, :-1]

    class Large(FreeClassifier):
        def predict(self, batch: PixelBatch) -> ScoreBatch:
            raise OutOfMemory("1 image did not fit")

    class Broken(FreeClassifier):
        def predict(self, batch: PixelBatch) -> ScoreBatch:
            raise ValueError("bad kernel")

    class Lists(FreeClassifier):
        def predict(self, batch: PixelBatch) -> Any:
            return super().predict(batch).tolist()

    class NoNumbers(FreeClassifier):
        def predict(self, batch: PixelBatch) -> ScoreBatch:
            return super().predict(batch) * np.float32("nan")

    warm_up(FreeClassifier())
    for model, said in (
        (Short(), "shape"),
        (Large(), "does not fit the device"),
        (Broken(), r"fails on a black image \(ValueError: bad kernel\)"),
        (Lists(), "shape None"),
        (NoNumbers(), "not finite numbers"),
    ):
        with pytest.raises(Fatal, match=said):
            warm_up(model)
