"""How large a batch should be: throughput, latency and memory over batch sizes, measured on this device."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from worker.errors import ConfigurationError, Fatal
from worker.models.classifier import Classifier, OutOfMemory, PixelBatch
from worker.resident import forget_peak, peak_resident_bytes

WITHIN = 0.05
"""The smallest batch within this share of the best throughput is chosen: a larger one adds latency and memory only."""

_ROUNDS = 5
_LEAST_S = 0.05
_FLAT = 1.02
_FLAT_FOR = 3


def _quietly(_: float) -> None:
    """Whoever does not want to see it."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one size of batch costs. The machine does nothing else meanwhile."""

    size: int
    images_per_s: float
    """Median of several rounds."""
    latency_s: float
    """Of one batch through the model: of each round the slowest, and of these the median."""
    memory_bytes: int
    """At most resident (a CPU) or allocated (a CUDA device) while this size ran, weights included."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a batch may cost. None: whatever it does."""

    latency_s: float | None = None
    memory_bytes: int | None = None

    def allow(self, found: Measurement) -> bool:
        """Whether a size keeps them."""
        fast = self.latency_s is None or found.latency_s <= self.latency_s
        return fast and (self.memory_bytes is None or found.memory_bytes <= self.memory_bytes)


def choose(found: Sequence[Measurement], limits: Limits) -> Measurement:
    """The smallest batch within WITHIN of the best throughput, of those that keep the limits.

    Raises ConfigurationError where not even the smallest does.
    """
    allowed = [each for each in found if limits.allow(each)]
    if not allowed:
        least = found[0]
        raise ConfigurationError(
            f"no batch keeps the limits: {least.size} image takes {1000 * least.latency_s:.1f} ms and"
            f" {least.memory_bytes / 2**20:.0f} MiB; raise them, or use a smaller model"
        )
    best = max(each.images_per_s for each in allowed)
    return min((each for each in allowed if each.images_per_s >= (1 - WITHIN) * best), key=lambda each: each.size)


def measure(
    classifier: Classifier, max_size: int, seconds: float, limits: Limits, progress: Callable[[float], None] = _quietly
) -> list[Measurement]:
    """Measures 1, 2, 4 and so on images, up to `max_size`, for about `seconds` in all; `progress` gets the share done.

    Leaves out what does not fit, what breaks a limit, and what is larger than sizes that bring nothing any more. All
    sizes are measured in turn, several times over, so that a machine that is busy for a while is so for all of them.
    Raises Fatal where not even one image fits.
    """
    trials = list(_trials(classifier, max_size, limits))
    share_s = max(_LEAST_S, seconds / (_ROUNDS * len(trials)))
    times: dict[int, list[list[float]]] = {trial.size: [] for trial in trials}
    for number in range(_ROUNDS):
        for trial in trials:
            times[trial.size].append(_round(classifier, trial.batch, share_s))
        progress((number + 1) / _ROUNDS)
    return [_measurement(trial, times[trial.size]) for trial in trials]


@dataclass(frozen=True, slots=True)
class _Trial:
    """A size of batch that is worth measuring."""

    size: int
    batch: PixelBatch
    memory_bytes: int


def _trials(classifier: Classifier, max_size: int, limits: Limits) -> Iterator[_Trial]:
    """The sizes, each run a few times: the first run pays for allocations, and for kernels that are chosen anew."""
    recipe, best, flat = classifier.recipe, 0.0, 0
    for size in (2**power for power in range(max_size.bit_length())):
        batch = np.random.default_rng(size).integers(0, 256, (size, recipe.height, recipe.width, 3), np.uint8)
        peak = _peak_memory()
        try:
            classifier.predict(batch)
            took_s = min(_round(classifier, batch, 0.0) + _round(classifier, batch, 0.0))
        except OutOfMemory as error:
            if size == 1:
                raise Fatal(f"the model does not fit the device with one image: {error}") from error
            return
        trial = _Trial(size, batch, peak())
        yield trial
        flat = flat + 1 if size / took_s < _FLAT * best else 0
        best = max(best, size / took_s)
        if flat == _FLAT_FOR or not limits.allow(_measurement(trial, [[took_s]])):
            return


def _round(classifier: Classifier, batch: PixelBatch, seconds: float) -> list[float]:
    """The seconds of each run, one at least, for as long as `seconds`."""
    times: list[float] = []
    while not times or sum(times) < seconds:
        started_s = time.monotonic()
        classifier.predict(batch)
        times.append(time.monotonic() - started_s)
    return times


def _measurement(trial: _Trial, rounds: Sequence[Sequence[float]]) -> Measurement:
    return Measurement(
        trial.size,
        statistics.median(trial.size * len(times) / sum(times) for times in rounds),
        statistics.median(max(times) for times in rounds),
        trial.memory_bytes,
    )


def _peak_memory() -> Callable[[], int]:
    """Begin to watch; what is returned tells the bytes at the peak since. torch is there where a model of it is."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return lambda: int(torch.cuda.max_memory_allocated())
    forget_peak()
    return peak_resident_bytes
