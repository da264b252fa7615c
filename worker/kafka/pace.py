"""A limit of records a second: a token bucket. PURE: time is passed in."""

from __future__ import annotations

_BURST_S = 1.0
"""So many seconds' worth may be taken at once: what a settlement may take, in which nothing is taken. With less, a
replay that is settled slowly would be far below its rate (seen in chaos)."""


class Pace:
    """Says whether a record may be taken now. Never more than `rate` a second, but for one second's worth."""

    def __init__(self, rate: float, now_s: float) -> None:
        """`rate`: records a second."""
        self._rate = rate
        # Two at least: what comes in beyond one between two looks would be lost, and the rate missed.
        self._room = max(2.0, rate * _BURST_S)
        self._tokens = self._room
        self._filled_s = now_s

    def ready(self, now_s: float) -> bool:
        """Whether one more may be taken."""
        self._tokens = min(self._room, self._tokens + (now_s - self._filled_s) * self._rate)
        self._filled_s = now_s
        return self._tokens >= 1

    def took(self) -> None:
        """Note one that was taken."""
        self._tokens -= 1
