"""However the camera was held, and wherever the file says so: the picture comes upright, once."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.pictures import CROPPED, EVERYTHING, LIMITS, PLAIN, photo, pixels, saved
from worker.images.decode import decode

pytestmark = pytest.mark.usefixtures("prepared")
ALLOWED = replace(LIMITS, formats=EVERYTHING)
TURNS = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
"""By EXIF orientation: Pillow's number of the turn that brings an upright picture into the file's position."""


def held(orientation: int) -> tuple[Image.Image, Image.Exif]:
    """A picture as a camera stores it, and the EXIF that says how to turn it."""
    upright, turn = photo(32, 16), TURNS[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return upright if turn is None else upright.transpose(Image.Transpose(turn)), exif


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_every_orientation_comes_upright(format: str, orientation: int) -> None:
    stored, exif = held(orientation)
    data = saved(stored, format, exif=exif, **({"lossless": True} if format == "WEBP" else {}))
    found = decode(data, PLAIN, ALLOWED)
    assert (found.width, found.height) == (32, 16)
    np.testing.assert_array_equal(pixels(data, PLAIN, ALLOWED), pixels(saved(photo(32, 16))))


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_every_orientation_is_resized_and_cropped_alike(format: str, orientation: int) -> None:
    stored, exif = held(orientation)
    recipe = replace(CROPPED, height=8, width=8, shortest_edge=9)
    found = pixels(saved(stored, format, exif=exif), recipe, ALLOWED)
    np.testing.assert_array_equal(found, pixels(saved(photo(32, 16)), recipe))


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_a_turn_that_is_the_containers_own_is_made_once(format: str, orientation: int) -> None:
    turn = TURNS[orientation]
    upright = Image.linear_gradient("L").resize((64, 32)).rotate(30, fillcolor="white").convert("RGB")
    exif = held(orientation)[1].tobytes()
    data = saved(upright if turn is None else upright.transpose(Image.Transpose(turn)), format, exif=exif)
    found = decode(data, PLAIN, ALLOWED)
    assert (found.width, found.height) == (64, 32)
    recipe = replace(PLAIN, resample=2)
    difference = pixels(data, recipe, ALLOWED).astype(int) - pixels(saved(upright), recipe)
    assert np.abs(difference).max() < 30


@pytest.mark.parametrize("orientation", TURNS)
def test_a_draft_is_turned_too(orientation: int) -> None:
    turn = TURNS[orientation]
    upright = Image.linear_gradient("L").resize((640, 320))
    exif = held(orientation)[1]
    data = saved(upright if turn is None else upright.transpose(Image.Transpose(turn)), "JPEG", exif=exif)
    recipe = replace(PLAIN, resample=2)
    found = decode(data, recipe, replace(LIMITS, draft=2))
    assert (found.width, found.height) == (640, 320)
    difference = pixels(data, recipe, replace(LIMITS, draft=2)).astype(int) - pixels(saved(upright), recipe)
    assert np.abs(difference).max() <= 3


def test_broken_exif_is_no_reason() -> None:
    data = saved(photo(16, 16), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\x00\x03" * 9)
    assert decode(data, PLAIN, LIMITS).format == "jpeg"


def test_xmp_turns_where_exif_is_silent() -> None:
    stored, _ = held(6)
    data = saved(stored, "JPEG", xmp=b'<x tiff:Orientation="6"/>', quality=95)
    assert re.search(rb"tiff:Orientation", data)
    assert (decode(data, PLAIN, LIMITS).width, decode(data, PLAIN, LIMITS).height) == (32, 16)
