"""A trial from its manifest to its report: every image through the worker's own chain."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from worker.chain import Classified
from worker.errors import Fatal
from worker.local import LocalImages, Verdict
from worker.models.backends.label_set import labels_of
from worker.observe.metrics import Metrics
from worker.opening import OpenChain, open_chain
from worker.records import ModelIdentity, Pixels
from worker.settings import Settings
from worker.trial.answers import AnswerSheet
from worker.trial.classes import Classes, find
from worker.trial.comparison import Result
from worker.trial.figures import Figures, add_up
from worker.trial.gallery import Gallery
from worker.trial.pace import Pace, Stopwatch
from worker.trial.rows import Manifest, Row


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of the images of a manifest."""

    model: ModelIdentity
    batch_size: int
    """Images in a batch at most."""
    figures: Figures
    results: Sequence[Result]
    pace: Pace
    thumbnails: Mapping[int, bytes]
    """Of wrong answers, the surest first: by the index of its row, a JPEG."""


async def run(settings: Settings, manifest: Manifest, progress: Progress) -> Trial:
    """Classify all images. Raises ConfigurationError for labels that the model does not have, before any is read.

    Raises Fatal where no image could be classified.
    """
    settings = held_still(settings)
    async with open_chain(settings, Metrics()) as room:
        classes, truth = find(manifest, room.classifier.labels)
        return await _Examination(manifest, classes, truth).hold(room, settings, progress)


def held_still(settings: Settings) -> Settings:
    """The settings, so that each image is classified anew, and by one label set whatever becomes of its file."""
    images = settings.images.model_copy(update={"seen_results": 0})
    model = settings.model
    if model.labels_file is not None:
        model = model.model_copy(update={"labels": labels_of(model), "labels_file": None})
    return settings.model_copy(update={"images": images, "model": model})


class _Examination:
    """Takes the verdicts of one trial as they come, and keeps nothing that grows with the images' pixels."""

    def __init__(self, manifest: Manifest, classes: Classes, truth: npt.NDArray[np.intp]) -> None:
        self._manifest = manifest
        self._classes = classes
        self._truth = truth.tolist()
        self._sheet = AnswerSheet(classes)
        self._gallery = Gallery()
        self._results: list[Result] = []

    async def hold(self, room: OpenChain, settings: Settings, progress: Progress) -> Trial:
        rows, at_once = self._manifest.rows, 4 * room.batch_size
        images = LocalImages(room, settings.images, at_once)
        task = progress.add_task("classified", total=len(rows))
        stopwatch = Stopwatch(time.monotonic(), room.batch_size, at_once)
        async for verdict in images.verdicts(row.place for row in rows):
            rate = stopwatch.ended(time.monotonic(), _took_s(verdict.classified))
            self._take(verdict)
            progress.update(task, advance=1, description=f"classified, {rate:.0f} a second")
        self._check_any()
        figures = add_up(self._sheet.answers(), self._classes.names)
        shown = self._gallery.surest_first()
        return Trial(room.classifier.identity, room.batch_size, figures, self._results, stopwatch.pace(), shown)

    def _take(self, verdict: Verdict) -> None:
        index = len(self._results)
        row, truth = self._manifest.rows[index], self._truth[index]
        name = self._classes.names[truth]
        if verdict.classified is None:
            self._results.append(_rejected(row, name, verdict))
            return
        seen = verdict.classified
        answer = self._sheet.add(truth, seen.prediction.scores)
        taken_for = self._classes.names[answer.predicted]
        told = (taken_for, answer.confidence, answer.truth_score, answer.rank)
        self._results.append(Result(row.source, row.label, name, *told))
        if answer.predicted != truth:
            self._gallery.offer(answer.confidence, index, _frame(seen.pixels, seen.decision.frame))

    def _check_any(self) -> None:
        if all(result.predicted is None for result in self._results):
            reasons = Counter(result.reason for result in self._results).most_common()
            told = ", ".join(f"{count} {reason}" for reason, count in reasons)
            raise Fatal(
                f"{self._manifest.path}: not one of {len(self._results)} images could be classified ({told}); the first"
                f" is {self._results[0].source!r}: {self._results[0].detail}"
            )


def _took_s(classified: Classified | None) -> float | None:
    if classified is None:
        return None
    prediction = classified.prediction
    return classified.fetch_s + classified.decode_s + prediction.wait_s + prediction.compute_s


def _frame(pixels: Pixels, frame: int) -> npt.NDArray[np.uint8]:
    array: npt.NDArray[np.uint8] = pixels.array[pixels.frames.index(frame)]
    return array


def _rejected(row: Row, truth: str, verdict: Verdict) -> Result:
    assert verdict.rejected is not None
    reason, detail = str(verdict.rejected.reason), verdict.rejected.detail
    return Result(row.source, row.label, truth, reason=reason, detail=detail)
