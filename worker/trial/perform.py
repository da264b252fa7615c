"""`image-worker evaluate`, from its options to its three reports."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from worker import __version__
from worker.errors import ConfigurationError
from worker.settings import Settings
from worker.trial.columns import Columns
from worker.trial.comparison import Baseline, compare, load
from worker.trial.expectation import Expectation
from worker.trial.machine import machine
from worker.trial.manifest import read
from worker.trial.page import page
from worker.trial.report import FORMAT, Report, as_json, now, of_all, telling, write
from worker.trial.rows import Manifest
from worker.trial.run import Trial, run
from worker.trial.terminal import tables


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    manifest: Path
    columns: Columns
    json: Path
    html: Path
    baseline: Path | None
    expectation: Expectation | None


def perform(settings: Settings, request: Request, console: Console, progress: Progress) -> None:
    """Hold the trial, write its files and print its figures. Whatever can be wrong without the model is told first.

    Raises Fatal at the end where the expectation is not met.
    """
    for path in (request.json, request.html):
        if not path.absolute().parent.is_dir():
            raise ConfigurationError(f"{path} cannot be written: there is no folder {path.absolute().parent}")
    manifest = read(request.manifest, request.columns)
    baseline = load(request.baseline, manifest) if request.baseline is not None else None
    with progress:
        trial = asyncio.run(run(settings, manifest, progress))
    report = _report(settings, manifest, trial, baseline)
    write(request.json, as_json(report))
    write(request.html, page(report, trial.thumbnails))
    console.print(tables(report))
    console.print(f"The report with the pictures: {request.html}; for --baseline: {request.json}", soft_wrap=True)
    if request.expectation is not None:
        request.expectation.check(report)


def _report(settings: Settings, manifest: Manifest, trial: Trial, baseline: Baseline | None) -> Report:
    told = telling(settings, trial.batch_size)
    return Report(
        format=FORMAT,
        version=__version__,
        made_at=now(),
        manifest=manifest.path,
        images=len(manifest.rows),
        model=trial.model,
        settings=told,
        machine=machine(settings.model.device),
        pace=trial.pace,
        top1_of_all=of_all(trial.results),
        figures=trial.figures,
        results=trial.results,
        comparison=compare(baseline, trial.model, told, trial.results) if baseline is not None else None,
    )
