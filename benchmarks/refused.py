"""Refused: time until an address that the policy forbids is rejected, over that of a connection that is refused.

Both to loopback and to the same port, on which nobody listens: ours is stopped before a socket is made; aiohttp's own,
with its session kept, is answered by the kernel at once. The sides take turns.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import aiohttp

from benchmarks.report import Report
from tests.kafka_server import free_ports
from worker.errors import Reason, Rejected
from worker.images.fetch import Fetcher
from worker.images.settings import ImagesSettings
from worker.observe.metrics import Metrics
from worker.records import ImageReference

_ROUNDS = 20


def run(quick: bool) -> Report:
    count = 20 if quick else 250
    port = free_ports(1)[0]
    times = asyncio.run(_measure(f"http://127.0.0.1:{port}/image.jpg", port, count))
    ours, plain = (statistics.median(each) for each in times.values())
    ratio = ours / plain
    return Report(
        "refused by the guard",
        f"{ratio:.2f} times the time of a connection refused ({ours * 1000:.3f} ms against {plain * 1000:.3f} ms)",
        "<= 1.0",
        ratio <= 1.0,
        {
            "of each": count * _ROUNDS,
            **{f"{side}, ms: p10, p50, p90": _deciles(each) for side, each in times.items()},
        },
    )


def _deciles(times_s: list[float]) -> list[float]:
    at = statistics.quantiles(times_s, n=10)
    return [round(at[index] * 1000, 3) for index in (0, 4, 8)]


async def _measure(address: str, port: int, count: int) -> dict[str, list[float]]:
    fetcher = Fetcher(ImagesSettings(ports=(port,)), Metrics())
    await fetcher.start()
    times: dict[str, list[float]] = {"guard": [], "refused": []}
    async with aiohttp.ClientSession() as session:

        async def guard() -> None:
            try:
                await fetcher.fetch(ImageReference(address=address))
            except Rejected as rejected:
                if rejected.reason is not Reason.FORBIDDEN_ADDRESS:
                    raise

        async def refused() -> None:
            try:
                async with session.get(address):
                    raise AssertionError("somebody listens")
            except aiohttp.ClientConnectorError:
                pass

        for _ in range(_ROUNDS):
            await _time(guard, count, times["guard"])
            await _time(refused, count, times["refused"])
    await fetcher.close()
    return times


async def _time(call: Callable[[], Awaitable[None]], count: int, times_s: list[float]) -> None:
    for _ in range(count):
        started_s = time.perf_counter()
        await call()
        times_s.append(time.perf_counter() - started_s)
