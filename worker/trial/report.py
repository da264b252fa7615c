"""The report of a trial: all that is shown, and the JSON that a later trial may be compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from worker.errors import Fatal
from worker.records import ModelIdentity
from worker.settings import Settings
from worker.trial.bootstrap import Estimate, of_mean
from worker.trial.comparison import Comparison, Result
from worker.trial.figures import Figures
from worker.trial.machine import Machine
from worker.trial.pace import Pace

FORMAT = "image-worker evaluation 1"
"""Its number rises when a field changes its meaning or goes."""

_PIXEL_SETTINGS = (
    "formats",
    "frames",
    "truncated_rows_missing",
    "background",
    "colour_profiles",
    "draft",
    "skip_cropped",
    "simd_resize",
)


@dataclass(frozen=True, slots=True)
class Report:
    """One trial."""

    format: str
    version: str
    """Of image-worker."""
    made_at: str
    """ISO 8601, in UTC."""
    manifest: str
    images: int
    """Rows of the manifest; those that were classified are `figures.images`."""
    model: ModelIdentity
    settings: Mapping[str, Any]
    """Those that change the pixels that the model sees, or the throughput."""
    machine: Machine
    pace: Pace
    top1_of_all: Estimate
    """With images that were rejected taken as wrong."""
    figures: Figures
    results: Sequence[Result]
    """Of each row, in the manifest's order."""
    comparison: Comparison | None

    @property
    def rejected(self) -> list[Result]:
        """The images that could not be classified."""
        return [result for result in self.results if result.reason is not None]


def now() -> str:
    """For `made_at`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def telling(settings: Settings, batch_size: int) -> dict[str, Any]:
    """The settings that a report names, with the size of batch that was found where that was left to be."""
    images = {f"images.{name}": getattr(settings.images, name) for name in _PIXEL_SETTINGS}
    return images | {"batch.max_size": batch_size}


def of_all(results: Sequence[Result]) -> Estimate:
    """Top-1 over all rows: an image without an answer has none that is right."""
    return of_mean(np.array([result.right for result in results]))


def write(path: Path, text: str) -> None:
    """Raises Fatal where the file cannot be written."""
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise Fatal(f"{path} cannot be written: {error.strerror}") from error


def as_json(report: Report) -> str:
    """The report's JSON, without what is not a number in it: those are null."""
    return json.dumps(asdict(report), ensure_ascii=False, allow_nan=False) + "\n"
