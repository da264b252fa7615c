"""What is on its way to a batch, and until when a batch may wait for it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import TracebackType


class OnWay:
    """Images on their way, by when they set out. Owned by the event loop.

    One that has been on its way for longer than a batch may wait is waited for no more: its host hangs, and nobody
    knows when it comes. So the images of hosts that hang, however many, cost the others nothing.
    """

    def __init__(self, patience_s: float, freed: Callable[[], None]) -> None:
        """`freed` is called when nothing is left that is worth waiting for, because the last of it came or failed."""
        self._patience_s = patience_s
        self._freed = freed
        self._set_out_s: dict[Passage, float] = {}
        """The latest last."""

    def passage(self) -> Passage:
        """`with on_way.passage():` round the way of an image."""
        return Passage(self)

    @property
    def until_s(self) -> float:
        """Until when something on its way is worth waiting for, by the monotonic clock; -inf where nothing is."""
        latest = next(reversed(self._set_out_s.values()), -math.inf)
        return latest + self._patience_s

    def set_out(self, passage: Passage) -> None:
        self._set_out_s[passage] = time.monotonic()

    def end(self, passage: Passage) -> None:
        del self._set_out_s[passage]
        if self.until_s <= time.monotonic():
            self._freed()


class Passage:
    """The way of one image."""

    __slots__ = ("_on_way",)

    def __init__(self, on_way: OnWay) -> None:
        self._on_way = on_way

    def __enter__(self) -> None:
        self._on_way.set_out(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._on_way.end(self)
