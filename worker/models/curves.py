"""Throughput, latency and memory over batch sizes, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worker.errors import ConfigurationError
from worker.models.calibrate import WITHIN, Measurement

_COLOUR, _MARK = "#2a6f97", "#d1495b"


def require_drawable(file: Path) -> None:
    """Raises ConfigurationError where a plot cannot be drawn into the file: to be known before anything is measured."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise ConfigurationError("--plot needs matplotlib: run `pip install 'image-worker[plots]'`") from error
    if file.suffix.lstrip(".").lower() not in (formats := FigureCanvasBase.get_supported_filetypes()):
        raise ConfigurationError(f"--plot {file}: its name must end in a format: {', '.join(sorted(formats))}")
    if not file.absolute().parent.is_dir():
        raise ConfigurationError(f"--plot {file}: there is no folder {file.absolute().parent}")


def draw(found: Sequence[Measurement], chosen: Measurement, file: Path) -> None:
    """Draw what was measured into a file, whose name says the format. Raises ConfigurationError."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 8), layout="constrained")
    throughput, latency, memory = figure.subplots(3, sharex=True)
    _curve(throughput, found, [each.images_per_s for each in found], "images/s")
    _curve(latency, found, [1000 * each.latency_s for each in found], "slowest batch, ms")
    _curve(memory, found, [each.memory_bytes / 2**20 for each in found], "memory at the peak, MiB")
    best = max(each.images_per_s for each in found)
    throughput.axhspan((1 - WITHIN) * best, best, color=_COLOUR, alpha=0.15, label=f"within {WITHIN:.0%} of the best")
    for axes in (throughput, latency, memory):
        axes.axvline(chosen.size, color=_MARK, linestyle="--", label=f"chosen: {chosen.size}")
    throughput.legend(loc="lower right")
    memory.set_xlabel("images in a batch")
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"--plot {file}: {error}") from error


def _curve(axes: Any, found: Sequence[Measurement], values: Sequence[float], name: str) -> None:
    sizes = [each.size for each in found]
    axes.plot(sizes, values, marker="o", color=_COLOUR)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_ylim(bottom=0)
    axes.set_ylabel(name)
    axes.grid(alpha=0.3)
