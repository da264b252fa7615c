"""Bytes to pixels: the same as the reference's, upright, opaque, and within limits."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.pictures import CROPPED, LIMITS, PLAIN, photo, pixels, refusal, saved
from worker.errors import Reason, Rejected
from worker.images.decode import Decoded, decode
from worker.recipe import InputRecipe

pytestmark = pytest.mark.usefixtures("prepared")


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (256, 256), (301, 757), (100, 90), (33, 700), (2, 3)])
@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        (CROPPED, {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "resample": 3}),
        (
            replace(CROPPED, shortest_edge=100, resample=2),
            {"size": {"shortest_edge": 100}, "crop_size": {"height": 224, "width": 224}, "resample": 2},
        ),
        (
            InputRecipe(160, 96, 160, 96, None, 2, False, (1, 1, 1), (0, 0, 0)),
            {"size": {"height": 160, "width": 96}, "resample": 2, "do_center_crop": False},
        ),
        (
            InputRecipe(223, 225, None, None, None, 2, True, (1, 1, 1), (0, 0, 0)),
            {"do_resize": False, "crop_size": {"height": 223, "width": 225}},
        ),
    ],
)
def test_the_pixels_are_those_of_transformers(
    size: tuple[int, int], recipe: InputRecipe, settings: dict[str, Any]
) -> None:
    processing = pytest.importorskip("transformers.image_processing_backends")
    image = photo(*size)
    backend = processing.PilBackend(
        **{"do_resize": True, "do_center_crop": True} | settings, do_rescale=False, do_normalize=False
    )
    theirs = backend(image)["pixel_values"][0]
    ours = pixels(saved(image), recipe, replace(LIMITS, max_pixels=10_000_000))
    np.testing.assert_array_equal(ours, np.moveaxis(np.asarray(theirs), 0, -1))


def test_what_the_file_was_is_told() -> None:
    data = saved(photo(40, 30), "JPEG")
    found = decode(data, PLAIN, LIMITS)
    assert found == Decoded(found.pixels, 40, 30, "jpeg", hashlib.sha256(data).hexdigest(), (0,), 1)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
def test_every_format_allowed_by_default_is_decoded(format: str) -> None:
    assert decode(saved(photo(40, 30), format), PLAIN, LIMITS).format == format.lower()


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (257, 256), (900, 300)])
@pytest.mark.parametrize("resample", [1, 2, 3, 4, 5])
def test_columns_to_be_cropped_are_left_out_and_hardly_a_pixel_tells(size: tuple[int, int], resample: int) -> None:
    data, recipe = saved(photo(*size)), replace(CROPPED, resample=resample)
    difference = np.abs(pixels(data, recipe).astype(int) - pixels(data, recipe, replace(LIMITS, draft=True)))
    assert difference.max() <= 2
    assert (difference > 0).mean() < 0.02


def test_a_draft_is_close_to_the_full_image_and_tells_the_true_size() -> None:
    data = saved(photo(980, 980).resize((980, 980)), "JPEG")
    drafting = replace(LIMITS, draft=3)
    recipe = replace(PLAIN, resample=2)
    found = decode(data, recipe, drafting)
    assert (found.width, found.height) == (980, 980)
    difference = pixels(data, recipe).astype(int) - pixels(data, recipe, drafting)
    assert abs(difference).max() <= 3


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: b"", Reason.NOT_AN_IMAGE),
        (lambda: b"<html><body>Not found</body></html>", Reason.NOT_AN_IMAGE),
        (lambda: random.Random(1).randbytes(5000), Reason.NOT_AN_IMAGE),
        (lambda: saved(photo(8, 8), "BMP"), Reason.UNSUPPORTED_FORMAT),
        (lambda: saved(photo(8, 8), "TIFF"), Reason.UNSUPPORTED_FORMAT),
        (lambda: saved(photo(8, 8), "ICO"), Reason.UNSUPPORTED_FORMAT),
        (lambda: b"BM" + bytes(60), Reason.UNSUPPORTED_FORMAT),
        (lambda: b"\0\0\0\x18ftypisom\0\0\2\0isommp42", Reason.NOT_AN_IMAGE),
        (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", Reason.NOT_AN_IMAGE),
        (lambda: saved(photo(1001, 1000)), Reason.TOO_MANY_PIXELS),
        (lambda: saved(Image.new("L", (3000, 1000))), Reason.TOO_MANY_PIXELS),
        (lambda: saved(photo(200, 200), "JPEG")[:-2000], Reason.TRUNCATED),
        (lambda: saved(photo(200, 200))[:-2000], Reason.TRUNCATED),
        (lambda: saved(photo(200, 200), "WEBP")[:-200], Reason.TRUNCATED),
        (lambda: saved(photo(200, 200), "AVIF")[:-200], Reason.TRUNCATED),
        (lambda: b"\xff\xd8\xff\xe0 nothing else", Reason.TRUNCATED),
        (lambda: b"\x89PNG\r\n\x1a\n nothing else", Reason.TRUNCATED),
        (lambda: b"\xff\xd8\xff\xc0\0\2\xff\xda\0\2", Reason.BROKEN_IMAGE),
    ],
)
def test_what_cannot_be_done_has_its_reason(make: Callable[[], bytes], reason: Reason) -> None:
    assert refusal(make()).reason is reason


def test_no_reader_of_a_format_that_is_not_allowed_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> None:
        raise AssertionError("it ran")

    readers = {name: (run, accept) for name, (_, accept) in Image.OPEN.items() if name != "JPEG"}
    monkeypatch.setattr(Image, "OPEN", Image.OPEN | readers)
    for format in ("BMP", "TIFF", "ICO", "PNG", "GIF", "WEBP", "AVIF", "HEIF", "PPM", "EPS"):
        reason = refusal(saved(photo(8, 8), format), replace(LIMITS, formats=("jpeg",))).reason
        assert reason is Reason.UNSUPPORTED_FORMAT


def test_a_format_is_decoded_only_where_it_is_allowed() -> None:
    data = saved(photo(8, 8), "GIF")
    assert refusal(data, replace(LIMITS, formats=("jpeg",))).reason is Reason.UNSUPPORTED_FORMAT
    assert decode(saved(photo(8, 8), "BMP"), PLAIN, replace(LIMITS, formats=("bmp",))).format == "bmp"


def test_a_sliver_does_not_grow_beyond_the_limit() -> None:
    with pytest.raises(Rejected) as caught:
        decode(
            saved(Image.new("L", (50_000, 1))), CROPPED, replace(LIMITS, max_edge_pixels=50_000, max_aspect_ratio=1e5)
        )
    assert caught.value.reason is Reason.TOO_MANY_PIXELS


def test_the_digest_is_checked_before_anything_is_decoded() -> None:
    data = b"no image, but nobody looked"
    assert refusal(data, expected="0" * 64).reason is Reason.DIGEST_MISMATCH
    assert refusal(data, expected=hashlib.sha256(data).hexdigest()).reason is Reason.NOT_AN_IMAGE
