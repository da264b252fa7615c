"""The cost of the way: CPU time of all the worker's processes over that of the bare fetch and decode.

The bare side is one process: aiohttp fetches with keep-alive, 16 at a time, and each image is decoded, resized and
cropped with Pillow on the spot. Nothing else: no records, no guard, no limits, no digest, no other process.

The worker runs twice in each round: as it is by default, which leaves out the columns that will be cropped away, and
with exact pixels, which does all that the bare side does.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from io import BytesIO

import aiohttp
from PIL import Image

from benchmarks import exact
from benchmarks.report import Report
from benchmarks.stage import Stage, cpu_s, stage, wait_until_committed, worker

_AT_ONCE = 16
_ROUNDS = 3


def run(quick: bool) -> Report:
    count = 200 if quick else 4000
    with stage() as parts:
        rounds = [_round(parts, count, number) for number in range(1 if quick else _ROUNDS)]
    ratio, same_work = _median(rounds, "default"), _median(rounds, "exact")
    return Report(
        "cost of the way",
        f"{ratio:.2f} times the bare fetch and decode",
        "<= 1.15",
        ratio <= 1.15,
        {
            "events in each round": count,
            "with exact pixels": f"{same_work:.2f} times",
            **{f"{side}, ms of CPU an image, by round": _ms(rounds, side, count) for side in rounds[0]},
        },
    )


def _median(rounds: list[dict[str, float]], side: str) -> float:
    return statistics.median(each[side] / each["bare"] for each in rounds)


def _ms(rounds: list[dict[str, float]], side: str, count: int) -> list[float]:
    return [round(each[side] / count * 1000, 2) for each in rounds]


def _round(parts: Stage, count: int, number: int) -> dict[str, float]:
    """CPU seconds for the same images: of the worker by default, of the worker with exact pixels, of the bare way."""
    cpu = {
        "default": _worker(parts, count),
        "exact": _worker(parts, count, *exact.FLAGS),
        "bare": _bare_alone(parts, count),
    }
    shown = ", ".join(f"{side} {seconds:.1f} s" for side, seconds in cpu.items())
    print(f"  round {number + 1}: {shown}: {cpu['default'] / cpu['bare']:.2f}", flush=True)
    return cpu


def _worker(parts: Stage, count: int, *flags: str) -> float:
    topics = parts.cluster.topics()
    warm = len(parts.addresses)
    with worker(parts.flags(topics, *flags)) as process:
        parts.events(topics, warm)
        wait_until_committed(parts, topics, warm)
        before_s = cpu_s(process)
        parts.events(topics, count)
        wait_until_committed(parts, topics, warm + count)
        return cpu_s(process) - before_s


def _bare_alone(parts: Stage, count: int) -> float:
    asyncio.run(_bare(parts, len(parts.addresses)))
    before_s = time.process_time()
    asyncio.run(_bare(parts, count))
    return time.process_time() - before_s


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
