"""The way of an image without Kafka and model: our fetcher and decode processes, and the bare way to compare with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import psutil

from benchmarks.cost import decode
from benchmarks.stage import cpu_s
from worker.images.fetch import Fetcher
from worker.images.pool import DecodePool
from worker.images.settings import ImagesSettings
from worker.observe.metrics import Metrics
from worker.recipe import InputRecipe
from worker.records import ImageReference
from worker.testing import RECIPE_224

PROCESSES = 2
T = TypeVar("T")
Carry = Callable[[str], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Spent:
    """What some images took."""

    count: int
    cpu_s: float
    """Of this process and all below it."""
    wall_s: float

    @property
    def ms(self) -> float:
        """Milliseconds of CPU an image."""
        return self.cpu_s / self.count * 1000

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.count / self.wall_s


@asynccontextmanager
async def pool(recipe: InputRecipe = RECIPE_224, **settings: Any) -> AsyncIterator[DecodePool]:
    """Decode processes that stand."""
    made = DecodePool(ImagesSettings(**{"decode_processes": PROCESSES, **settings}), recipe, Metrics())
    await made.start()
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def ours(port: int, **settings: Any) -> AsyncIterator[Carry]:
    """Fetch through the guard and decode in processes."""
    images = ImagesSettings(**{"ports": (port,), "allow_networks": ("127.0.0.0/8",), **settings})
    fetcher = Fetcher(images, Metrics())
    await fetcher.start()
    try:
        async with pool(**settings) as decoder:

            async def carry(address: str) -> object:
                return await decoder.decode(await fetcher.fetch(ImageReference(address=address)))

            yield carry
    finally:
        await fetcher.close()


@asynccontextmanager
async def bare() -> AsyncIterator[Carry]:
    """aiohttp as it comes, and Pillow in threads: no guard, no limits, no digest, no other process."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(PROCESSES) as threads:
        async with aiohttp.ClientSession() as session:

            async def carry(address: str) -> object:
                async with session.get(address) as response:
                    data = await response.read()
                return await loop.run_in_executor(threads, decode, data)

            yield carry


async def spend(carry: Callable[[T], Awaitable[object]], items: Sequence[T], count: int, at_once: int) -> Spent:
    """Carry so many images, the items (addresses, or images) in turn, so many at once."""
    me = psutil.Process()
    todo = iter(range(count))

    async def work() -> None:
        for number in todo:
            await carry(items[number % len(items)])

    before_s, started_s = cpu_s(me), time.monotonic()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return Spent(count, cpu_s(me) - before_s, time.monotonic() - started_s)
