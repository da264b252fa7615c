"""Which runtime runs a model: what the settings say, and on `auto` what measures faster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from structlog.typing import EventDict

from tests.unit.models.exported import loaded
from worker.errors import ConfigurationError, Fatal
from worker.models import fastest, runtimes
from worker.models.provenance.lock import read, write
from worker.models.settings import ModelSettings


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The images a second that each runtime is made to have."""
    found = {"torch": 1.0, "onnxruntime": 2.0}
    monkeypatch.setattr(fastest, "rate", lambda classifier, *_: found[classifier.identity.runtime.split()[0]])
    return found


@pytest.mark.parametrize("faster", ["torch", "onnxruntime"])
def test_auto_takes_what_measures_faster(
    faster: str, exported_vit: Path, rates: dict[str, float], logs: list[EventDict]
) -> None:
    rates[faster] = 10.0
    assert loaded(exported_vit, "auto").identity.runtime.split()[0] == faster
    said = next(line for line in logs if line["event"] == "model.runtime")
    assert said["images_per_s"][said["runtime"]] == 10.0


def test_auto_takes_torch_where_there_is_no_export_and_says_so(elsewhere: Path, logs: list[EventDict]) -> None:
    write(replace(read(elsewhere), exports=()), elsewhere)
    assert loaded(elsewhere, "auto").identity.runtime.startswith("torch")
    said = next(line for line in logs if line["event"] == "model.runtime")
    assert "has no export in fp32" in said["reason"]


def test_auto_does_not_overlook_an_export_that_was_changed(elsewhere: Path) -> None:
    elsewhere.with_name("vit.onnx").write_bytes(b"something else")
    with pytest.raises(Fatal, match="is not the one that"):
        loaded(elsewhere, "auto")


def test_auto_takes_torch_on_cuda(exported_vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "_has_cuda", lambda settings: True)
    assert loaded(exported_vit, "auto").identity.runtime.startswith("torch")


def test_a_rate_is_that_of_one_batch_again_and_again(exported_vit: Path) -> None:
    classifier = loaded(exported_vit)
    assert fastest.rate(classifier, np.zeros((4, 224, 224, 3), np.uint8), 0.0) > 0


@pytest.mark.parametrize("knob", ["compile", "deterministic"])
def test_what_only_torch_does_is_not_silently_left_out(knob: str, exported_vit: Path, logs: list[EventDict]) -> None:
    with pytest.raises(ConfigurationError, match=rf"model\.{knob} is for torch, and ONNX Runtime has no such thing"):
        loaded(exported_vit, **{knob: True})
    settings = ModelSettings(lock=exported_vit, runtime="auto", device="cpu", **{knob: True})
    assert runtimes._candidate(settings, read(exported_vit)) is None
    assert knob in next(line["reason"] for line in logs if line["event"] == "model.runtime")
