"""`image-worker model verify`: a model held against its lock by hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.common import quiet_logs, settings_of, table_console
from worker.cli.model import group
from worker.errors import ConfigurationError
from worker.printable import printable

if TYPE_CHECKING:
    from worker.models.classifier import Classifier
    from worker.models.provenance.files import ModelFiles
    from worker.models.provenance.verify import Finding
    from worker.models.settings import ModelSettings


@group.command()
def verify(
    context: typer.Context,
    lock: Annotated[
        Path | None, typer.Option("--lock", dir_okay=False, help="The lock; else the one of `model.lock`.")
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Show the scores of transformers' own pipeline beside ours.")
    ] = False,
) -> None:
    """Hold a model against its lock: every file, the licence, labels, recipe, and the scores of the photographs.

    A line each; exit code 1 where one differs. A file that differs is not loaded.
    """
    settings = settings_of(context)
    quiet_logs(settings.observe)
    model = settings.model if lock is None else settings.model.model_copy(update={"lock": lock})
    if model.lock is None:
        raise ConfigurationError("no lock to hold the model against: give --lock FILE, or set model.lock")
    if not _verify(model, reference):
        raise typer.Exit(1)


def _verify(settings: ModelSettings, reference: bool) -> bool:
    """Print the findings as they come; whether all is well."""
    from worker.models import exports
    from worker.models.load import load_files, sources
    from worker.models.provenance import licence
    from worker.models.provenance import verify as held

    lock, _, files = sources(settings)
    assert lock is not None
    assert settings.lock is not None
    if reference and files.onnx is not None:
        raise ConfigurationError(f"--reference: {files.onnx} is an ONNX file, and transformers has no pipeline for it")
    same = _print(held.before_loading(lock, files))
    same = _print(exports.findings(lock, settings.lock.expanduser())) and same
    accepted = _print([licence.finding(lock, settings)])
    if not same:
        return False
    classifier = load_files(settings, files, lock)
    well = _print(held.of_model(lock, classifier)) and accepted
    if reference:
        _show_reference(classifier, files)
    return well


def _print(findings: Iterable[Finding]) -> bool:
    well = True
    for finding in findings:
        well = well and finding.ok
        mark = typer.style("ok     ", fg="green") if finding.ok else typer.style("differs", fg="red")
        typer.echo(f"{mark}  {finding.subject:<26}  {finding.text}")
    return well


def _show_reference(classifier: Classifier, files: ModelFiles) -> None:
    from rich.table import Table
    from rich.text import Text

    from worker.models.provenance.reference import beside

    table = Table("photograph", "label", "transformers", "ours", "largest difference", box=None, pad_edge=False)
    for row in beside(classifier, files):
        numbers = (f"{row.reference:.6f}", f"{row.ours:.6f}", f"{row.difference:.1e}")
        table.add_row(row.photograph, Text(printable(row.label)), *numbers)
    table_console().print(table)
