"""`image-worker demo`: everything in one process tree."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.common import progress_bar, quiet_logs
from worker.cli.root import app


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running, and say how to send it more.")] = False,
    report: Annotated[Path, typer.Option(metavar="FILE", dir_okay=False, help="Where the page goes.")] = Path(
        "demo-report.html"
    ),
) -> None:
    """Classify real photographs from a Kafka topic: an embedded cluster, a web server, the real model and worker.

    Needs no Kafka, network or account. Prints what each picture was taken for, and leaves one HTML page.
    """
    from rich.console import Console

    from worker.demo.run import perform
    from worker.observe.settings import ObserveSettings

    quiet_logs(ObserveSettings(), "error")
    asyncio.run(perform(report, keep, Console(), progress_bar()))
