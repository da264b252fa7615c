"""An animation through the chain: each sampled frame is classified, and the gravest decides."""

from __future__ import annotations

import asyncio
import gc
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.clusters import jpeg
from worker.chain import Classified
from worker.errors import Reason, Rejected, Stage
from worker.models.classifier import Classifier, PixelBatch, ScoreBatch
from worker.observe.metrics import Metrics
from worker.opening import open_chain
from worker.records import ImageReference
from worker.settings import resolve
from worker.testing import FreeClassifier

DARK, DIM, LIGHT, BRIGHT = 20, 90, 150, 230
"""Greys of the labels a, b, c and d of the free model."""


class Progress:
    stage = Stage.FETCH


def animation(*greys: int) -> bytes:
    frames = [Image.new("L", (64, 64), grey) for grey in greys]
    stream = BytesIO()
    frames[0].save(stream, "PNG", save_all=True, append_images=frames[1:], duration=40)
    return stream.getvalue()


async def classify(image: bytes, *flags: str, model: Classifier | None = None) -> Classified:
    rules = ["policy.thresholds.b.review=0.5", "policy.thresholds.c.block=0.5"]
    settings = resolve(None, ["images.decode_processes=1", *rules, *flags], {}).settings
    async with open_chain(settings, Metrics(), model or FreeClassifier()) as room:
        return await room.chain.classify(ImageReference(image=image), Progress())


async def test_the_frame_with_the_gravest_action_decides() -> None:
    seen = await classify(animation(DARK, DIM, LIGHT, BRIGHT), "images.frames=4")
    assert (seen.decision.label, seen.decision.action, seen.decision.frame) == ("c", "block", 2)
    assert int(seen.prediction.scores.argmax()) == 2
    assert seen.pixels.frame_count == 4


async def test_the_index_is_that_of_the_frame_in_the_file() -> None:
    seen = await classify(animation(DARK, LIGHT, DARK, LIGHT, DIM), "images.frames=3")
    assert seen.pixels.frames == (0, 2, 4)
    assert (seen.decision.label, seen.decision.action, seen.decision.frame) == ("b", "review", 4)


async def test_by_default_the_first_frame_alone_is_classified() -> None:
    seen = await classify(animation(DARK, LIGHT))
    assert (seen.decision.action, seen.decision.frame, seen.pixels.frame_count) == ("allow", 0, 2)
    assert seen.prediction.batch_size == 1


async def test_the_frames_of_an_image_join_one_batch() -> None:
    seen = await classify(animation(*range(0, 240, 30)), "images.frames=8")
    assert seen.prediction.batch_size == 8


async def test_a_still_image_has_one_frame() -> None:
    seen = await classify(jpeg(LIGHT), "images.frames=4")
    assert (seen.pixels.frames, seen.pixels.frame_count, seen.decision.frame) == ((0,), 1, 0)


class Squeamish(FreeClassifier):
    """Fails on every image above a brightness."""

    def predict(self, batch: PixelBatch) -> ScoreBatch:
        if np.any(batch.mean(axis=(1, 2, 3)) > 100):
            raise ValueError("too bright")
        return super().predict(batch)


async def test_where_frames_fail_the_image_is_rejected_and_no_error_is_left_behind() -> None:
    left: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: left.append(context))
    with pytest.raises(Rejected) as caught:
        await classify(animation(DARK, LIGHT, DARK, BRIGHT), "images.frames=4", model=Squeamish())
    assert caught.value.reason is Reason.MODEL_FAILED
    del caught
    gc.collect()
    await asyncio.sleep(0)
    assert left == []
