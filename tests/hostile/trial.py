"""Images through a real decode pool, one after the other in each process, and what became of each."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.clusters import jpeg
from tests.hostile.memory import Sampler
from tests.hostile.mutations import Mutant
from worker.errors import Reason, Rejected
from worker.images.pool import DecodePool
from worker.images.settings import ImagesSettings
from worker.observe.metrics import Metrics
from worker.records import EncodedImage, Pixels
from worker.testing import RECIPE_224

_GRACE_S = 3.0
"""What an image may take above its limit: the pool looks at its clock four times a second, and machines are noisy."""
_NOTHING_CAME = 4
"""After so many times the limit, an image that has no end is one that will never have any."""


@dataclass(frozen=True, slots=True)
class Strange:
    """An image that did not end as promised."""

    mutant: Mutant
    what: str


@dataclass(slots=True)
class Trial:
    """What became of the images."""

    limit_s: float
    processes: int
    process_limit_bytes: int
    """What the address space of a decode process is limited to."""
    memory_bound_bytes: int
    """What the pool promises of all its processes."""
    ends: Counter[str] = field(default_factory=Counter)
    """Images by how they ended: `pixels`, or the code of a reason."""
    slowest_s: dict[str, float] = field(default_factory=dict)
    strange: list[Strange] = field(default_factory=list)
    restarts: dict[str, int] = field(default_factory=dict)
    standing: bool = False
    """Whether the pool decodes on with all its processes at the end."""
    peak_family_bytes: int = 0
    peak_process_bytes: int = 0
    took_s: float = 0.0

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        in_bounds = self.peak_process_bytes <= self.process_limit_bytes
        return not self.strange and self.standing and in_bounds

    def note(self, mutant: Mutant, end: str | None, what: str, took_s: float) -> None:
        """Count an image. `end` is None where it is no end that was promised."""
        if end is None:
            self.strange.append(Strange(mutant, what))
            return
        self.ends[end] += 1
        self.slowest_s[end] = max(took_s, self.slowest_s.get(end, 0.0))
        tries = 2 if end == Reason.DECODER_CRASHED else 1
        if took_s > tries * (self.limit_s + _GRACE_S):
            self.strange.append(Strange(mutant, f"{end} after {took_s:.1f} s, the limit is {self.limit_s:g} s"))


async def trial(mutants: Iterable[Mutant], progress: Callable[[int], None] = lambda _: None, **settings: Any) -> Trial:
    """Decode all of them with these settings of the images, as many at once as there are processes."""
    images = ImagesSettings(**settings)
    metrics = Metrics()
    pool = DecodePool(images, RECIPE_224, metrics)
    found = Trial(images.decode_timeout_s, images.processes, images.decode_memory_bytes, pool.memory_bytes())
    started_s = time.monotonic()
    await pool.start()
    try:
        with Sampler(psutil.Process()) as sampler:
            todo = iter(mutants)
            await asyncio.gather(*(_work(pool, todo, found, progress) for _ in range(images.processes)))
            found.standing = await _stands(pool, images.processes)
    finally:
        await pool.close()
    found.took_s = time.monotonic() - started_s
    found.peak_family_bytes, found.peak_process_bytes = sampler.peak_family, sampler.peak_child
    found.restarts = _restarts(metrics)
    return found


async def _work(pool: DecodePool, todo: Iterator[Mutant], found: Trial, progress: Callable[[int], None]) -> None:
    for mutant in todo:
        started_s = time.monotonic()
        end, what = await _end(pool, mutant.data, found.limit_s)
        found.note(mutant, end, what, time.monotonic() - started_s)
        progress(1)


async def _end(pool: DecodePool, data: bytes, limit_s: float) -> tuple[str | None, str]:
    """How an image ended, or None and what came instead."""
    try:
        async with asyncio.timeout(_NOTHING_CAME * (limit_s + _GRACE_S)):
            pixels = await pool.decode(EncodedImage(data))
    except Rejected as rejected:
        told = rejected.reason is not Reason.INTERNAL_ERROR and rejected.detail
        return (str(rejected.reason) if told else None), str(rejected)
    except TimeoutError:
        return None, "nothing came"
    except Exception as error:
        return None, repr(error)
    return ("pixels" if _are_right(pixels) else None), f"pixels {pixels.array.shape} of {pixels.width}x{pixels.height}"


def _are_right(pixels: Pixels) -> bool:
    right = (1, RECIPE_224.height, RECIPE_224.width, 3)
    return pixels.array.shape == right and min(pixels.width, pixels.height) > 0


async def _stands(pool: DecodePool, processes: int) -> bool:
    """Whether images that are whole are decoded after all that happened."""
    ends = await asyncio.gather(*(_end(pool, jpeg(7), 60.0) for _ in range(4 * processes)))
    return all(end == "pixels" for end, _ in ends)


def _restarts(metrics: Metrics) -> dict[str, int]:
    """Decode processes replaced, by cause."""
    (family,) = metrics.decoder_restarts.collect()
    return {s.labels["cause"]: int(s.value) for s in family.samples if s.name.endswith("_total")}
