"""One contract, run over every backend of the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.models import checkpoints, onnx_files, two_towers
from worker.models.classifier import Classifier
from worker.models.load import load
from worker.models.settings import ModelSettings
from worker.testing import FreeClassifier
from worker.testing.contract import ClassifierContract

LABELS = ("a cat", "a dog", "an owl on a tree")


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save("vit", tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="module", params=["clip", "siglip"])
def two_tower(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_towers.save(request.param, tmp_path_factory.mktemp(request.param))


def loaded(source: Path, **more: Any) -> Classifier:
    return load(ModelSettings(source=str(source), device="cpu", **more))


class TestTheFreeModel(ClassifierContract):
    @pytest.fixture
    def classifier(self) -> Classifier:
        return FreeClassifier()


class TestTorch(ClassifierContract):
    @pytest.fixture
    def classifier(self, vit: Path) -> Classifier:
        return loaded(vit)


class TestTorchInReducedPrecision(ClassifierContract):
    tolerance = 2e-2

    @pytest.fixture
    def classifier(self, vit: Path) -> Classifier:
        return loaded(vit, precision="bf16")


class TestZeroShot(ClassifierContract):
    @pytest.fixture
    def classifier(self, two_tower: Path) -> Classifier:
        return loaded(two_tower, labels=LABELS)


class TestAnOnnxFile(ClassifierContract):
    @pytest.fixture
    def classifier(self, tmp_path: Path) -> Classifier:
        return loaded(onnx_files.save(tmp_path))
