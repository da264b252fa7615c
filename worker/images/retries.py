"""Tries after the first, inside one deadline. Owned by the event loop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import count

from worker.errors import Reason
from worker.images.answers import MayPass
from worker.images.deadline import Deadline
from worker.images.settings import ImagesSettings
from worker.images.traffic import Traffic
from worker.observe.metrics import Metrics
from worker.records import EncodedImage

Try = Callable[[Deadline], Awaitable[EncodedImage]]


class Retries:
    """Tries until the image comes, or until that is no use."""

    def __init__(self, settings: ImagesSettings, traffic: Traffic, metrics: Metrics) -> None:
        self._settings = settings
        self._traffic = traffic
        self._metrics = metrics

    async def run(self, host: str, once: Try) -> EncodedImage:
        """Fetch within the total deadline, which stands still while the fetch waits for its turn.

        Raises what a try raised that is final, else the last MayPass.
        """
        total_s = self._settings.total_timeout_s
        try:
            async with asyncio.timeout(total_s) as timeout:
                deadline = Deadline(timeout, total_s, self._settings.host_wait_s)
                return await self._until_it_comes(host, once, deadline)
        except TimeoutError:
            raise deadline.verdict() from None

    async def _until_it_comes(self, host: str, once: Try, deadline: Deadline) -> EncodedImage:
        last: MayPass | None = None
        for tried in count():
            try:
                return await once(deadline)
            except MayPass as failure:
                if failure.reason is Reason.HOST_UNAVAILABLE:
                    raise last or failure from None  # of a host that is left alone since this image's own try, that
                last = failure
                wait_s = self._wait_s(failure, tried)
                if not self._another(host, tried) or wait_s >= deadline.left_s():
                    raise
                self._metrics.fetch_retries.labels(failure.reason).inc()
                deadline.first_try = False
                with self._traffic.between_tries():
                    await asyncio.sleep(wait_s)
        raise AssertionError("unreachable")

    def _another(self, host: str, tried: int) -> bool:
        return tried < self._settings.retries and self._traffic.may_retry(host)

    def _wait_s(self, failure: MayPass, tried: int) -> float:
        """What the host asked for, or full jitter (https://aws.amazon.com/blogs/architecture, exponential backoff)."""
        if failure.wait_s is not None:
            return failure.wait_s
        return random.uniform(0, self._settings.retry_base_s * 2**tried)
