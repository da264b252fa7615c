"""How fast a trial went: of this run, with what else the machine did meanwhile."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from worker.chain import Classified


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
    """Started when it is made; told of the end of each image."""

    def __init__(self, warm_up: int, at_once: int) -> None:
        self._started_s = time.monotonic()
        self._warm_up = warm_up
        self._at_once = at_once
        self._ended_s: list[float] = []
        self._took_s: list[float] = []

    def ended(self, classified: Classified | None) -> float:
        """One more image ended, classified or not. Images a second until now."""
        self._ended_s.append(time.monotonic())
        self._took_s.append(_took_s(classified) if classified is not None else math.nan)
        return self._rate()

    def _left_out(self) -> int:
        return self._warm_up if len(self._ended_s) > self._warm_up else 0

    def _rate(self) -> float:
        left_out = self._left_out()
        begun_s = self._ended_s[left_out - 1] if left_out else self._started_s
        return (len(self._ended_s) - left_out) / max(1e-9, self._ended_s[-1] - begun_s)

    def pace(self) -> Pace:
        """The pace of the whole run, of one image at least that was classified."""
        left_out = self._left_out()
        took = self._took_s[left_out:] if not all(map(math.isnan, self._took_s[left_out:])) else self._took_s
        p50, p99 = (float(value) * 1000 for value in np.nanquantile(took, [0.5, 0.99]))
        return Pace(len(self._ended_s) - left_out, left_out, self._rate(), self._at_once, p50, p99)


def _took_s(classified: Classified) -> float:
    prediction = classified.prediction
    return classified.fetch_s + classified.decode_s + prediction.wait_s + prediction.compute_s
