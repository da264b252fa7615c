"""Decode pools, and images that are hard on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from io import BytesIO
from typing import Any

import psutil
import pytest
from PIL import Image

from worker.images.pool import DecodePool
from worker.images.settings import ImagesSettings
from worker.observe.metrics import Metrics
from worker.recipe import InputRecipe

RECIPE = InputRecipe(32, 24, 32, 24, None, 2, False, (1, 1, 1), (0, 0, 0))


@pytest.fixture
async def pool() -> AsyncIterator[Callable[..., Awaitable[DecodePool]]]:
    async with AsyncExitStack() as closing:

        async def start(metrics: Metrics | None = None, **settings: Any) -> DecodePool:
            # What takes long has to get past the limits that are there to refuse it.
            usual: dict[str, Any] = {"decode_processes": 1, "max_scan_pixels": 10**12}
            made = DecodePool(ImagesSettings(**usual | settings), RECIPE, metrics or Metrics())
            closing.push_async_callback(made.close)
            await made.start()
            return made

        yield start
    assert decoders() == [], "a pool that is closed leaves processes behind"


def decoders(parent: int | None = None) -> list[psutil.Process]:
    """The decode processes of a process, this one by default: its grandchildren."""
    found = []
    for child in psutil.Process(parent).children():
        try:
            found += child.children()
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.fixture(scope="session")
def good_image() -> bytes:
    buffer = BytesIO()
    Image.linear_gradient("L").convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def scan_bomb() -> bytes:
    """190 kB that take many seconds."""
    return progressive(scans=1000)


@pytest.fixture(scope="session")
def slow_image() -> bytes:
    """An image that takes about a second and comes to an end."""
    return progressive(scans=30)


def progressive(scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again, each for some 15 ms of work."""
    buffer = BytesIO()
    Image.new("RGB", (5000, 5000), "teal").save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * scans + data[-2:]
