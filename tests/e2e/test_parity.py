"""The whole way of an image against transformers' own processor and model: the same scores within 1e-4.

Weights are random, so that nothing depends on what a model has learnt. Draft decoding is off: with it the pixels are
not the reference's on purpose.
"""

from __future__ import annotations

import asyncio
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from tests.unit.models import checkpoints
from worker.errors import Stage
from worker.observe.metrics import Metrics
from worker.opening import open_chain
from worker.records import ImageReference
from worker.settings import resolve


class Anywhere:
    stage = Stage.FETCH


def encoded() -> list[bytes]:
    """20 images as files, in three formats in turn."""
    files = []
    for number, image in enumerate(checkpoints.images(20)):
        stream = BytesIO()
        image.save(stream, ("jpeg", "png", "webp")[number % 3])
        files.append(stream.getvalue())
    return files


@torch.inference_mode()
def reference(directory: Path, files: list[bytes]) -> Any:
    """The scores that transformers alone gives."""
    processor: Any = AutoImageProcessor.from_pretrained(directory, backend="pil")
    model = AutoModelForImageClassification.from_pretrained(directory).eval()
    images = [Image.open(BytesIO(file)).convert("RGB") for file in files]
    return model(**processor(images, return_tensors="pt")).logits.softmax(-1).numpy()


async def by_the_worker(directory: Path, files: list[bytes]) -> Any:
    exact = ["images.draft=0", "images.skip_cropped=false", "images.simd_resize=false", "images.colour_profiles=false"]
    flags = [f"model.source={directory}", "model.device=cpu", "images.decode_processes=1", "batch.max_size=8"]
    settings = resolve(None, [*exact, *flags], {}).settings
    async with open_chain(settings, Metrics()) as opened:
        seen = await asyncio.gather(*(opened.chain.classify(ImageReference(image=file), Anywhere()) for file in files))
    return np.array([each.prediction.scores for each in seen])


@pytest.mark.parametrize("family", ["vit", "efficientnet", "mobilenet_v2"])
async def test_scores_equal_those_of_transformers(family: str, tmp_path: Path) -> None:
    directory = checkpoints.save(family, tmp_path)
    files = encoded()
    expected = reference(directory, files)
    assert expected.std(axis=0).max() > 0.03, "the images are told apart"
    np.testing.assert_allclose(await by_the_worker(directory, files), expected, atol=1e-4)
