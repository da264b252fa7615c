"""How fast a replay goes, and how long it still takes. PURE: time is passed in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

_OVER_S = 60.0


@dataclass(frozen=True, slots=True)
class Reading:
    """Where a replay is. Offsets stand for records: where some hold none, it is done sooner."""

    done: int
    total: int
    per_s: float
    left_s: float | None
    """None while nothing moves."""


class Meter:
    """Reads what is left now and then."""

    def __init__(self, total: int, now_s: float) -> None:
        """`total`: offsets that are left at the start of this process; others may work on them too."""
        self._total = total
        self._seen: deque[tuple[float, int]] = deque([(now_s, total)])

    def read(self, left: int, now_s: float) -> Reading:
        """The rate is that of the last minute, from when it began to move: a start is no part of it."""
        if left >= self._total:
            # More than before: of two processes that begin at once, the other one was first, with a later end.
            self._total = left
            self._seen = deque([(now_s, left)])
            return Reading(0, left, 0.0, None)
        self._seen.append((now_s, left))
        while len(self._seen) > 2 and self._seen[1][0] <= now_s - _OVER_S:
            self._seen.popleft()
        (_, before), took_s = self._seen[0], now_s - self._seen[0][0]
        per_s = max(0, before - left) / took_s if took_s > 0 else 0.0
        return Reading(self._total - left, self._total, per_s, left / per_s if per_s else None)


def paced(per_s: float) -> str:
    """A rate in words."""
    return f"{per_s:.0f}/s" if per_s >= 10 else f"{per_s:.1f}/s"


def spoken(seconds: float | None) -> str:
    """A time in words: `2 h 05 min`, `3 min 20 s`, `20 s`."""
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
