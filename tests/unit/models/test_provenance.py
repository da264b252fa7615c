"""Where models come from: pinned, or refused with what to write."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.models import checkpoints
from worker.errors import ConfigurationError, Fatal
from worker.models.provenance.files import fingerprint, locate
from worker.testing import RECIPE_224


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save("vit", tmp_path_factory.mktemp("saved") / "tiny-vit")


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "tiny-vit"))


def mark(model: Path, runtime: str = "torch 2", precision: str = "fp32") -> str:
    return fingerprint(locate(str(model)), RECIPE_224, runtime, precision)


def test_a_directory_is_named_after_itself_and_pinned_by_its_weights(model: Path) -> None:
    files = locate(str(model))
    assert (files.name, files.directory) == ("tiny-vit", model)
    assert files.revision == files.weights_sha256


def test_a_fingerprint_is_stable_and_knows_no_place(model: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(model, tmp_path / "other")
    assert mark(model) == mark(elsewhere)
    assert len(mark(model)) == 64


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_one_changed_byte_changes_the_fingerprint(name: str, model: Path) -> None:
    before, file = mark(model), model / name
    content = file.read_bytes()
    file.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    assert mark(model) != before


def test_recipe_runtime_and_precision_change_the_fingerprint(model: Path) -> None:
    files = locate(str(model))
    other_recipe = fingerprint(files, replace(RECIPE_224, resample=2), "torch 2", "fp32")
    assert len({mark(model), mark(model, runtime="torch 3"), mark(model, precision="bf16"), other_recipe}) == 4


@pytest.mark.parametrize("source", ["no/such/directory", "nothing-here", "/nowhere", "owner/name@main@main"])
def test_what_is_no_source_is_refused(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigurationError, match=r"model\.source"):
        locate(source)


def test_a_directory_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no config\.json"):
        locate(str(tmp_path))


def test_a_directory_without_safetensors_is_refused(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(Fatal, match="safetensors"):
        locate(str(model))
