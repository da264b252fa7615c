"""The bytes of encoded images that may be in memory at once, over the whole worker."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque

from worker.records import EncodedImage


class _Share:
    """A part of the budget that is taken until nobody refers to it any more."""

    __slots__ = ("__weakref__",)


class ByteBudget:
    """Shares of a fixed number of bytes, given in the order they were asked for. Owned by the event loop.

    A share is taken in one step and never grown, so nobody holds one while waiting for another: no deadlock. It is
    given back when the image made of it is gone, so what is counted is what is really in memory.
    """

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self._free = total_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def take_now(self, size: int) -> bool:
        """Take a share if it is free and nobody waits for one."""
        if self._waiting or size > self._free:
            return False
        self._free -= size
        return True

    async def take(self, size: int) -> None:
        """Wait for a share of `size` bytes, not more than the total. The caller gives it back, or makes an image."""
        if self.take_now(size):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            self._abandon(size, turn)
            raise

    def give_back(self, size: int) -> None:
        """Return a share, or a part of one, and let those who wait have it."""
        self._free += size
        self._serve()

    def hold(self, data: bytes, taken: int) -> EncodedImage:
        """Make an image of a share of `taken` bytes. What it does not need goes back now, the rest when it is gone."""
        share = _Share()
        weakref.finalize(share, self.give_back, len(data)).atexit = False
        if taken > len(data):
            self.give_back(taken - len(data))
        return EncodedImage(data, share=share)

    def _serve(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.done():
                if size > self._free:
                    return
                self._free -= size
                turn.set_result(None)
            self._waiting.popleft()

    def _abandon(self, size: int, turn: asyncio.Future[None]) -> None:
        """Leave the queue. A share that was given in the moment of the cancellation goes back."""
        if turn.done() and not turn.cancelled():
            self.give_back(size)
        else:
            self._serve()
