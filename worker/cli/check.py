"""`image-worker check`: is all there that a worker needs?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from worker.cli.common import quiet_logs, resolved
from worker.cli.root import app, leave
from worker.errors import ConfigurationError

if TYPE_CHECKING:
    from worker.kafka.topics import Finding
    from worker.settings import Settings


@app.command()
def check(context: typer.Context) -> None:
    """Look at configuration, broker, topics, registry, model, and take one image through the chain.

    A line each, with what to do where one failed; exit code 1 then. The group is not joined, and no worker fenced.
    """
    try:
        found = resolved(context)
    except ConfigurationError as error:
        _print("configuration", str(error), ok=False)
        raise typer.Exit(error.exit_code) from error
    _print("configuration", f"{len(found.origins)} values set, the others are defaults", ok=True)
    quiet_logs(found.settings.observe, "error")
    # Threads that still wait for a hub which hangs must not hold the end up.
    leave(0 if asyncio.run(_check(found.settings)) else 1)


async def _check(settings: Settings) -> bool:
    """Print the findings as they come; whether all is well."""
    from worker.check import findings

    well = True
    async for finding in findings(settings):
        well = well and not finding.remedy
        _print(finding.subject, _text(finding), ok=not finding.remedy)
    return well


def _text(finding: Finding) -> str:
    return ": ".join(part for part in (finding.result, finding.remedy) if part)


def _print(subject: str, text: str, *, ok: bool) -> None:
    mark = typer.style("ok    ", fg="green") if ok else typer.style("failed", fg="red")
    for line in text.splitlines():
        typer.echo(f"{mark}  {subject:<32}  {line}")
