"""Guarded: CPU time of fetch, decode and resize with all guards and limits, over that of the bare way.

Ours: guard, caps and budget of bytes on the way of the bytes, and decode processes that can be killed. The bare way:
aiohttp and Pillow in two threads. Same photographs from the same nginx, same number at once; the sides take turns.
Ours runs by default, which leaves out work whose result is thrown away, and with exactly the reference's pixels, which
is the same work as the bare way's.
"""

from __future__ import annotations

import asyncio
import statistics
from contextlib import AsyncExitStack

from benchmarks import exact
from benchmarks.chain import Spent, bare, ours, spend
from benchmarks.nginx import Server, server
from benchmarks.report import Report
from benchmarks.stage import corpus

_AT_ONCE = 16
_ROUNDS = 7


def run(quick: bool) -> Report:
    count, rounds = (250, 2) if quick else (1500, _ROUNDS)
    with server(corpus() / "imagenet-sample") as web:
        spent = asyncio.run(_measure(web, count, rounds))
        what = web.what
    ratio, same_work = _median(spent, "default"), _median(spent, "exact")
    return Report(
        "guarded, CPU an image",
        f"{ratio:.2f} times the bare fetch and decode; with exact pixels {same_work:.2f}",
        "<= 1.12",
        ratio <= 1.12,
        {
            "web server": what,
            "images in each round": count,
            **{f"{side}, ms of CPU an image": _ms(each) for side, each in spent.items()},
            **{f"{side}, images/s": round(statistics.median(s.rate for s in each)) for side, each in spent.items()},
        },
    )


def _median(spent: dict[str, list[Spent]], side: str) -> float:
    return statistics.median(one.ms / base.ms for one, base in zip(spent[side], spent["bare"], strict=True))


def _ms(spent: list[Spent]) -> str:
    each = [f"{one.ms:.2f}" for one in spent]
    return f"{statistics.median(one.ms for one in spent):.2f} (rounds: {', '.join(each)})"


async def _measure(web: Server, count: int, rounds: int) -> dict[str, list[Spent]]:
    addresses = web.addresses()
    spent: dict[str, list[Spent]] = {}
    async with AsyncExitStack() as stack:
        sides = {
            "default": await stack.enter_async_context(ours(web.port)),
            "exact": await stack.enter_async_context(ours(web.port, **exact.SETTINGS)),
            "bare": await stack.enter_async_context(bare()),
        }
        for carry in sides.values():
            await spend(carry, addresses, len(addresses), _AT_ONCE)
        for number in range(rounds):
            for side, carry in sides.items():
                spent.setdefault(side, []).append(await spend(carry, addresses, count, _AT_ONCE))
            shown = ", ".join(f"{side} {each[-1].ms:.2f} ms" for side, each in spent.items())
            print(f"  round {number + 1}: {shown}", flush=True)
    return spent
