"""The contract of a decoder, kept by processes and by threads alike."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.hostile.conftest import RECIPE, progressive
from worker.errors import ConfigurationError, Fatal, Reason, Rejected
from worker.images.decoder import Decoder
from worker.images.settings import ImagesSettings
from worker.observe.metrics import Metrics
from worker.opening import open_decoder
from worker.recipe import InputRecipe
from worker.records import EncodedImage, Pixels

NewDecoder = Callable[..., Awaitable[Decoder]]
MODES = ("processes", "threads")


@pytest.fixture(params=MODES)
async def decoder(request: pytest.FixtureRequest) -> AsyncIterator[NewDecoder]:
    async with AsyncExitStack() as closing:

        async def start(**settings: Any) -> Decoder:
            found = await started(**{"decoders": request.param} | settings)
            closing.push_async_callback(found.close)
            return found

        yield start


async def started(**settings: Any) -> Decoder:
    found = open_decoder(ImagesSettings(**{"decode_processes": 1} | settings), RECIPE, Metrics())
    await found.start()
    return found


def animation(shades: list[int]) -> bytes:
    frames = [Image.new("L", (32, 32), shade) for shade in shades]
    stream = BytesIO()
    frames[0].save(stream, "PNG", save_all=True, append_images=frames[1:], duration=40)
    return stream.getvalue()


async def test_an_image_comes_back_as_pixels(decoder: NewDecoder, good_image: bytes) -> None:
    found = await (await decoder()).decode(EncodedImage(good_image))
    assert (found.array.shape, found.array.dtype, found.format) == ((1, 32, 24, 3), np.uint8, "jpeg")
    assert (found.width, found.height) == (256, 256)
    assert found.array.flags.c_contiguous
    assert (found.frames, found.frame_count) == ((0,), 1)


async def test_many_images_at_once_each_get_their_own_pixels(decoder: NewDecoder) -> None:
    started = await decoder(decode_processes=2)
    images = []
    for shade in range(200):
        buffer = BytesIO()
        Image.new("L", (8, 8), shade).save(buffer, "PNG")
        images.append(EncodedImage(buffer.getvalue()))
    found = await asyncio.gather(*map(started.decode, images))
    assert [int(each.array.max()) for each in found] == list(range(200))


async def test_a_refusal_carries_reason_and_digest(decoder: NewDecoder, good_image: bytes) -> None:
    started = await decoder()
    with pytest.raises(Rejected) as caught:
        await started.decode(EncodedImage(good_image, "0" * 64))
    assert caught.value.reason is Reason.DIGEST_MISMATCH
    assert caught.value.sha256 == (await started.decode(EncodedImage(good_image, caught.value.sha256))).sha256


@pytest.mark.parametrize("stated", ["no hex", "é" * 64, "ab", "0" * 100_000])
async def test_a_digest_that_is_none_matches_nothing(decoder: NewDecoder, good_image: bytes, stated: str) -> None:
    with pytest.raises(Rejected) as caught:
        await (await decoder()).decode(EncodedImage(good_image, stated))
    assert caught.value.reason is Reason.DIGEST_MISMATCH


async def test_the_sampled_frames_of_an_animation_come_with_their_indexes(decoder: NewDecoder) -> None:
    found = await (await decoder(frames=3)).decode(EncodedImage(animation([0, 40, 80, 120, 160])))
    assert found.array.shape == (3, 32, 24, 3)
    assert found.frame_count == 5
    assert [int(frame.max()) for frame in found.array] == [40 * index for index in found.frames]
    assert found.frames == (0, 2, 4)


async def test_an_image_of_fewer_frames_than_are_sampled_has_all_of_them(decoder: NewDecoder) -> None:
    found = await (await decoder(frames=8)).decode(EncodedImage(animation([0, 200])))
    assert (found.frames, found.frame_count, len(found.array)) == ((0, 1), 2, 2)


async def test_an_image_of_too_many_bytes_is_refused(decoder: NewDecoder, good_image: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        await (await decoder(max_bytes=1024)).decode(EncodedImage(good_image + bytes(1024)))
    assert caught.value.reason is Reason.TOO_LARGE


async def test_what_takes_too_long_is_refused_and_the_next_image_gets_its_turn(
    decoder: NewDecoder, good_image: bytes
) -> None:
    found = await decoder(decode_timeout_s=0.3, max_scan_pixels=10**12)
    bomb = progressive(scans=60)
    with pytest.raises(Rejected) as caught:
        await found.decode(EncodedImage(bomb))
    assert (caught.value.reason, caught.value.sha256) == (Reason.DECODE_TIMEOUT, hashlib.sha256(bomb).hexdigest())
    assert (await found.decode(EncodedImage(good_image))).format == "jpeg"


async def test_a_caller_that_is_cancelled_costs_the_others_nothing(
    decoder: NewDecoder, good_image: bytes, slow_image: bytes
) -> None:
    found = await decoder()
    cancelled = asyncio.create_task(found.decode(EncodedImage(slow_image)))
    waiting = [asyncio.create_task(found.decode(EncodedImage(good_image))) for _ in range(5)]
    await asyncio.sleep(0)
    cancelled.cancel()
    with suppress(asyncio.CancelledError):
        await cancelled
    assert cancelled.cancelled()
    assert all(isinstance(each, Pixels) for each in await asyncio.gather(*waiting))


async def test_closing_ends_those_who_wait_and_lets_nothing_more_in(
    decoder: NewDecoder, good_image: bytes, slow_image: bytes
) -> None:
    found = await decoder()
    waiting = [asyncio.create_task(found.decode(EncodedImage(slow_image))) for _ in range(4)]
    await asyncio.sleep(0)
    begun_s = time.monotonic()
    await found.close()
    assert all(isinstance(each, Fatal) for each in await asyncio.gather(*waiting, return_exceptions=True))
    assert time.monotonic() - begun_s < 60
    with pytest.raises(Fatal):
        await found.decode(EncodedImage(good_image))


@pytest.mark.parametrize("mode", MODES)
def test_a_recipe_that_fits_no_batch_is_a_wrong_configuration(mode: str) -> None:
    recipe = InputRecipe(224, 224, None, None, 256, 3, False, (1, 1, 1), (0, 0, 0))
    with pytest.raises(ConfigurationError):
        open_decoder(ImagesSettings.model_validate({"decoders": mode}), recipe, Metrics())


async def test_threads_say_that_nothing_is_shut_off() -> None:
    found = await started(decoders="threads")
    assert not found.confinement().shut
    await found.close()


@pytest.mark.corpus
async def test_confined_processes_see_in_every_file_what_threads_see(corpus: Path) -> None:
    """Nothing that a decoder needs is shut off: the same pixels, or the same refusal."""
    files = [each for name in ("pillow", "imagenet-sample") for each in sorted((corpus / name).rglob("*"))]
    images = [EncodedImage(each.read_bytes()) for each in files if each.is_file()]
    confined, free = [
        await _everything(
            images, decoders=mode, frames=3, formats=("jpeg", "png", "webp", "gif", "avif", "bmp", "tiff")
        )
        for mode in MODES
    ]
    assert len(images) > 700
    assert [each for each, other in zip(confined, free, strict=True) if each != other] == []
    assert sum(each.startswith("pixels") for each in confined) > 400


async def _everything(images: list[EncodedImage], **settings: Any) -> list[str]:
    found = await started(**settings)
    ends = await asyncio.gather(*map(found.decode, images), return_exceptions=True)
    await found.close()
    return [_told(end) for end in ends]


def _told(end: Pixels | BaseException) -> str:
    if isinstance(end, BaseException):
        return repr(end)
    facts = (end.array.shape, end.width, end.height, end.format, end.sha256, end.frames, end.frame_count)
    return f"pixels {hash(end.array.tobytes())} {facts}"
