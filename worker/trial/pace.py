"""How fast a trial went: of this run, with what else the machine did meanwhile. PURE."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_SHORTEST_S = 1e-9


@dataclass(frozen=True, slots=True)
class Pace:
    """Throughput and the time of one image."""

    images: int
    """That were counted."""
    left_out: int
    """Those of the first batch, which had to warm up; 0 where there was no other."""
    images_per_s: float
    at_once: int
    """Images under way at a time, which is what an image's time depends on."""
    p50_ms: float
    """From the begin of its fetching, or with its file in memory, to its scores, with all its waiting."""
    p99_ms: float


class Stopwatch:
    """Told of the end of each image. Times are those of one monotonic clock, in seconds."""

    def __init__(self, started_s: float, warm_up: int, at_once: int) -> None:
        self._started_s = started_s
        self._warm_up = warm_up
        self._at_once = at_once
        self._ended_s: list[float] = []
        self._took_s: list[float] = []

    def ended(self, now_s: float, took_s: float | None) -> float:
        """One more image ended; `took_s` is None where it was rejected. Images a second until now."""
        self._ended_s.append(now_s)
        self._took_s.append(math.nan if took_s is None else took_s)
        return self._rate()

    def _left_out(self) -> int:
        return self._warm_up if len(self._ended_s) > self._warm_up else 0

    def _rate(self) -> float:
        left_out = self._left_out()
        begun_s = self._ended_s[left_out - 1] if left_out else self._started_s
        return (len(self._ended_s) - left_out) / max(_SHORTEST_S, self._ended_s[-1] - begun_s)

    def pace(self) -> Pace:
        """The pace of the whole run, of which one image at least was classified."""
        left_out = self._left_out()
        counted = self._took_s[left_out:]
        # Where all that was counted was rejected, the images of the first batch are better than none.
        took_s = self._took_s if all(map(math.isnan, counted)) else counted
        p50, p99 = (float(value) * 1000 for value in np.nanquantile(took_s, [0.5, 0.99]))
        return Pace(len(counted), left_out, self._rate(), self._at_once, p50, p99)
