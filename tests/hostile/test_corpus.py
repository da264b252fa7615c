"""Every file of Pillow's own odd, broken and once deadly images ends in pixels or a reason."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.hostile.conftest import decoders
from worker.errors import Rejected
from worker.images.pool import DecodePool
from worker.records import EncodedImage, Pixels

CORPUS = Path(os.environ.get("CORPUS_HOME", Path(__file__).parents[2].parent / "shared" / "corpus")) / "pillow"


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus: set CORPUS_HOME to its folder")
@pytest.mark.parametrize(
    "formats", [("jpeg", "png", "webp", "gif", "avif"), ("jpeg", "png", "webp", "gif", "avif", "bmp", "tiff", "heic")]
)
async def test_every_file_ends_in_pixels_or_a_reason(
    pool: Callable[..., Awaitable[DecodePool]], good_image: bytes, formats: tuple[str, ...]
) -> None:
    started = await pool(formats=formats, decode_processes=2)
    files = [path for path in sorted(CORPUS.rglob("*")) if path.is_file()]
    assert len(files) > 300
    outcomes = await asyncio.gather(
        *(started.decode(EncodedImage(path.read_bytes())) for path in files), return_exceptions=True
    )
    strange = [(path.name, end) for path, end in zip(files, outcomes, strict=True) if not _is_an_end(end)]
    assert strange == []
    assert sum(isinstance(end, Pixels) for end in outcomes) > 200
    assert (await started.decode(EncodedImage(good_image))).format == "jpeg"
    assert len(decoders()) == 2


def _is_an_end(outcome: object) -> bool:
    return isinstance(outcome, Pixels) or (isinstance(outcome, Rejected) and outcome.sha256 is not None)
