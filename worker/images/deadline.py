"""The one deadline of a fetch, over all its tries and hops, and its patience with hosts in trouble."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from worker.errors import Reason
from worker.images.answers import MayPass


class Deadline:
    """A running `asyncio.timeout` that stands still while a fetch waits for this worker, not for a host."""

    def __init__(self, timeout: asyncio.Timeout, total_s: float, patience_s: float) -> None:
        self._timeout = timeout
        self._total_s = total_s
        self._loop = asyncio.get_running_loop()
        self.patience_s = patience_s
        """Seconds that this fetch may still wait for hosts in trouble before it tries them."""
        self.first_try = True
        self._cut = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time inside out of account: the host is not to blame for it."""
        left_s = self.left_s()
        self._timeout.reschedule(None)
        try:
            yield
        finally:
            if not self._timeout.expired():
                self._timeout.reschedule(self._loop.time() + left_s)

    def left_s(self) -> float:
        """Seconds until the deadline."""
        when = self._timeout.when()
        assert when is not None
        return when - self._loop.time()

    def cut(self) -> None:
        """End it now: others need its place, and its host has kept it for longest."""
        self._cut = True
        self._timeout.reschedule(self._loop.time())

    def verdict(self) -> MayPass:
        """What it means that the deadline has passed."""
        if self._cut:
            detail = "the host stalls, and too many others wait for stalling hosts"
            return MayPass(Reason.HOST_UNAVAILABLE, detail)
        return MayPass(Reason.FETCH_TIMEOUT, f"the image did not arrive within {self._total_s:g} s")
