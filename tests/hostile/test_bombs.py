"""Files that are small and much work, and files that are nonsense: each is refused for its reason, or is an image."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.bombs import BOMBS, Bomb, small
from tests.pictures import EVERYTHING, FORMATS, photo, saved
from worker.errors import Reason, Rejected
from worker.images.decode import decode, prepare
from worker.images.pool import DecodePool
from worker.images.settings import ImagesSettings
from worker.recipe import InputRecipe
from worker.records import EncodedImage

RECIPE = InputRecipe(32, 24, None, None, 40, 2, True, (1, 1, 1), (0, 0, 0))
LIMITS = replace(ImagesSettings(formats=EVERYTHING, frames=3, truncated_rows_missing=0.5).limits, max_pixels=1_000_000)


@pytest.fixture(autouse=True)
def _prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    prepare(LIMITS)


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.name)
def test_a_bomb_is_refused_for_its_reason(bomb: Bomb) -> None:
    limits = ImagesSettings(**bomb.settings).limits
    prepare(limits)
    with pytest.raises(Rejected) as caught:
        decode(bomb.make(), RECIPE, limits)
    assert caught.value.reason is bomb.reason


async def test_bombs_cost_a_worker_by_default_no_process(pool: Callable[..., Awaitable[DecodePool]]) -> None:
    started = await pool(max_scan_pixels=ImagesSettings().max_scan_pixels)
    for bomb in BOMBS:
        if not bomb.settings:
            with pytest.raises(Rejected) as caught:
                await started.decode(EncodedImage(bomb.make()))
            assert caught.value.reason is bomb.reason


@cache
def whole(format: str) -> bytes:
    moving = format in ("GIF", "PNG", "WEBP", "AVIF", "TIFF")
    more = {"save_all": True, "append_images": [photo(24, 20), photo(24, 20).rotate(90)]} if moving else {}
    return saved(photo(24, 20), format, **more)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    format=st.sampled_from(FORMATS),
    seed=st.integers(0, 2**32),
    changes=st.integers(1, 40),
    head=st.booleans(),
    cut=st.one_of(st.none(), st.floats(0, 1)),
)
def test_whatever_becomes_of_an_image_it_ends_in_pixels_or_a_reason(
    format: str, seed: int, changes: int, head: bool, cut: float | None
) -> None:
    chance, data = random.Random(seed), bytearray(whole(format))
    for _ in range(changes):
        data[chance.randrange(min(len(data), 200) if head else len(data))] = chance.randrange(256)
    mutant = bytes(data) if cut is None else bytes(data[: int(cut * len(data))])
    with suppress(Rejected):
        found = decode(mutant, RECIPE, LIMITS)
        assert len(found.pixels) == len(found.frames) * 32 * 24 * 3
        assert found.frames == tuple(sorted(set(found.frames)))


@pytest.mark.parametrize("format", FORMATS)
def test_an_image_of_every_format_is_none_of_another(format: str) -> None:
    """Content tells: with all other formats allowed it is refused, with its own alone it is decoded."""
    name = {"HEIF": "heic"}.get(format, format.lower())
    assert decode(small(format), RECIPE, replace(LIMITS, formats=(name,))).format == name
    others = tuple(other for other in EVERYTHING if other != name)
    with pytest.raises(Rejected) as caught:
        decode(small(format), RECIPE, replace(LIMITS, formats=others))
    assert caught.value.reason is Reason.UNSUPPORTED_FORMAT
