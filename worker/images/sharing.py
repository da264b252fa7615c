"""One fetch for all who want the same address at the same time. Owned by the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from worker.observe.metrics import Metrics

T = TypeVar("T")


class Shared(Generic[T]):
    """The first to ask does the work; who asks meanwhile gets what comes of it, be it a result or an error."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._followers: dict[str, list[asyncio.Future[T | None]]] = {}

    async def get(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        """What comes of the work under this key.

        The work runs in the task of the first who asks: where that is cancelled, the next one begins anew.
        """
        while (followers := self._followers.get(key)) is not None:
            place: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
            followers.append(place)
            if (result := await place) is not None:
                self._metrics.fetches_shared.inc()
                return result
        return await self._lead(key, work)

    async def _lead(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        self._followers[key] = []
        try:
            result = await work()
        except Exception as error:
            for place in self._waiting(key):
                place.set_exception(error)
            raise
        except BaseException:
            for place in self._waiting(key):
                place.set_result(None)
            raise
        for place in self._waiting(key):
            place.set_result(result)
        return result

    def _waiting(self, key: str) -> list[asyncio.Future[T | None]]:
        """Those who follow and have not left; from now on the next who asks leads."""
        return [place for place in self._followers.pop(key) if not place.done()]
