"""The cost of the way: CPU time of all the worker's processes over that of the bare fetch and decode.

The bare side is one process: aiohttp fetches with keep-alive, 16 at a time, and each image is decoded, resized and
cropped with Pillow on the spot. Nothing else: no records, no guard, no limits, no digest, no other process.
"""

from __future__ import annotations

import asyncio
import time
from io import BytesIO

import aiohttp
from PIL import Image

from benchmarks.report import Report
from benchmarks.stage import Stage, cpu_s, stage, wait_until_committed, worker

_AT_ONCE = 16
_ROUNDS = 3


def run(quick: bool) -> Report:
    count = 400 if quick else 4000
    with stage() as parts:
        rounds = [_round(parts, count, number) for number in range(1 if quick else _ROUNDS)]
    ratios = sorted(whole / bare for whole, bare in rounds)
    ratio = ratios[len(ratios) // 2]
    best = min(rounds, key=lambda pair: pair[0] / pair[1])
    return Report(
        "cost of the way",
        f"{ratio:.2f} times the bare fetch and decode",
        "<= 1.15",
        ratio <= 1.15,
        {
            "events in each round": count,
            "worker, ms of CPU an image, by round": [round(whole / count * 1000, 2) for whole, _ in rounds],
            "bare, ms of CPU an image, by round": [round(bare / count * 1000, 2) for _, bare in rounds],
            "ratios, sorted": [round(each, 3) for each in ratios],
            "best round": [round(each / count * 1000, 2) for each in best],
        },
    )


def _round(parts: Stage, count: int, number: int) -> tuple[float, float]:
    """CPU seconds of the worker and of the bare way for the same images."""
    topics = parts.cluster.topics()
    warm = len(parts.addresses)
    with worker(parts.flags(topics)) as process:
        parts.events(topics, warm)
        wait_until_committed(parts, topics, warm)
        before_s = cpu_s(process)
        parts.events(topics, count)
        wait_until_committed(parts, topics, warm + count)
        whole = cpu_s(process) - before_s
    asyncio.run(_bare(parts, warm))
    before_s = time.process_time()
    asyncio.run(_bare(parts, count))
    bare = time.process_time() - before_s
    print(f"  round {number + 1}: worker {whole:.1f} s, bare {bare:.1f} s: {whole / bare:.2f}", flush=True)
    return whole, bare


async def _bare(parts: Stage, count: int) -> None:
    todo = iter(range(count))

    async def carry(session: aiohttp.ClientSession) -> None:
        for number in todo:
            async with session.get(parts.addresses[number % len(parts.addresses)]) as response:
                decode(await response.read())

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(carry(session) for _ in range(_AT_ONCE)))


def decode(data: bytes) -> bytes:
    """Pillow alone: RGB, the shorter edge to 256, the centre 224."""
    image = Image.open(BytesIO(data)).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    return image.crop((left, top, left + 224, top + 224)).tobytes()
