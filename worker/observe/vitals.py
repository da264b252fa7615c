"""Signs of life of the event loop and of what works beside it, for as long as the worker works. On the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from worker.errors import Fatal
from worker.observe.watchdog import Part, Watchdog, end_process

_BEAT_EVERY_S = 0.5


@contextmanager
def watched(parts: Sequence[Part], limit_s: float) -> Iterator[asyncio.Future[None]]:
    """A watchdog over the parts, and over the running event loop with this limit.

    The future gets a Fatal when one died or stands still. Whoever runs the worker awaits it, and leaves.
    """
    loop = asyncio.get_running_loop()
    failed: asyncio.Future[None] = loop.create_future()
    beat_s = time.monotonic()

    def fail(wrong: str) -> None:
        if not failed.done():
            failed.set_exception(Fatal(f"{wrong}; nothing unfinished was committed: start the worker again"))

    def found(wrong: str) -> None:
        loop.call_soon_threadsafe(fail, wrong)

    async def beat() -> None:
        nonlocal beat_s
        while True:
            beat_s = time.monotonic()
            await asyncio.sleep(_BEAT_EVERY_S)

    own = Part("event loop", threading.current_thread(), lambda: beat_s, limit_s)
    watchdog = Watchdog([own, *parts], found, end_process)
    beating = asyncio.create_task(beat())
    watchdog.start()
    try:
        yield failed
    finally:
        beating.cancel()
        if not watchdog.waits:
            watchdog.stop()
