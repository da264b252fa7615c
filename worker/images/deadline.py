"""The one deadline of a fetch, over all its tries and hops."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Deadline:
    """A running `asyncio.timeout` that stands still while a fetch waits for this worker's own memory."""

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time inside out of account: the host is not to blame for it."""
        left_s = self.left_s()
        self._timeout.reschedule(None)
        try:
            yield
        finally:
            self._timeout.reschedule(self._loop.time() + left_s)

    def left_s(self) -> float:
        """Seconds until the deadline."""
        when = self._timeout.when()
        assert when is not None
        return when - self._loop.time()
