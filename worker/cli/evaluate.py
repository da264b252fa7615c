"""`image-worker evaluate`: the model on images whose labels are known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.common import progress_bar, quiet_logs, settings_of
from worker.cli.root import app


@app.command()
def evaluate(
    context: typer.Context,
    manifest: Annotated[
        Path,
        typer.Argument(help="CSV, TSV or JSON lines of image and label; or a directory with a folder for each label."),
    ],
    json_file: Annotated[
        Path, typer.Option("--json", metavar="FILE", dir_okay=False, help="Where the figures go.")
    ] = Path("evaluation.json"),
    html_file: Annotated[
        Path, typer.Option("--html", metavar="FILE", dir_okay=False, help="Where the page goes.")
    ] = Path("evaluation.html"),
    baseline: Annotated[
        Path | None, typer.Option(metavar="REPORT", dir_okay=False, help="An earlier --json to compare with.")
    ] = None,
    expect_top1: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit with 1 where top-1 is not this...")
    ] = None,
    within: Annotated[float | None, typer.Option(min=0, max=1, help="... give or take this.")] = None,
    image_column: Annotated[
        str | None, typer.Option(help="The column of a path or URL, where its name is odd.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="The column of a label's name or index, where its name is odd.")
    ] = None,
) -> None:
    """Try the model on images whose labels are known: accuracy, confusions, calibration, thresholds, throughput.

    Prints the figures, and leaves them as JSON and as one HTML page with the wrong answers.
    """
    settings = settings_of(context)
    quiet_logs(settings.observe, "error")

    from rich.console import Console

    from worker.trial.columns import Columns
    from worker.trial.expectation import expectation
    from worker.trial.perform import Request, perform

    expected = expectation(expect_top1, within)
    columns = Columns(image_column, label_column)
    request = Request(manifest, columns, json_file, html_file, baseline, expected)
    perform(settings, request, Console(), progress_bar())
