"""`image-worker model lock`: a model's bytes, labels, recipe, licence and scores, written down for review."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.common import progress_bar, quiet_logs, settings_of, table_console
from worker.cli.model import group
from worker.printable import printable

if TYPE_CHECKING:
    from worker.models.provenance.diff import Change
    from worker.models.provenance.lock import Lock


@group.command()
def lock(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="`owner/name[@revision]`, a directory, or `demo`.")],
    output: Annotated[
        Path | None, typer.Option("--output", dir_okay=False, help="Where to write; else NAME.lock.toml here.")
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Write over a lock that differs.")] = False,
) -> None:
    """Lock a model: fetch it, score a few photographs, write all of it to a file to be reviewed and committed.

    Where the file exists already, what changed is shown, and exit code 1 says that something did.
    """
    settings = settings_of(context)
    quiet_logs(settings.observe)
    from worker.models.provenance import locking
    from worker.models.provenance.diff import changes
    from worker.models.provenance.lock import read, write

    with progress_bar() as progress:
        progress.add_task(f"locking {source}", total=None)
        made = locking.lock_of(source, settings.model)
    path = output or Path(f"{made.name.replace('/', '--')}.lock.toml")
    found = None
    if path.exists():
        old = read(path)
        made = locking.with_exports_of(old, made)
        found = list(changes(old, made))
    if found:
        _show(found)
    if found and not update:
        typer.echo(f"{path} is not this model any more. After a review, write it anew with --update.")
        raise typer.Exit(1)
    if found == []:
        typer.echo(f"{path}: nothing changed")
    else:
        write(made, path)
        _summary(made, path)


def _show(found: list[Change]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("", "in the lock", "now", box=None, pad_edge=False)
    for change in found:
        table.add_row(*(Text(cell, overflow="fold") for cell in (change.subject, change.before, change.after)))
    table_console().print(table)


def _summary(made: Lock, path: Path) -> None:
    from worker.models.provenance.locking import doubled

    typer.echo(f"{path}: {made.name} at {made.revision[:12]}, {printable(made.architecture)}")
    typer.echo(f"licence: {made.licence}")
    typer.echo(f"{len(made.files)} files, {len(made.labels)} labels")
    for golden in made.golden:
        label, score = made.top(golden)[0]
        typer.echo(f"{golden.photograph:<14} {score:.3f}  {printable(label)}")
    if twice := doubled(made.labels):
        names = printable(", ".join(twice))
        typer.echo(f"note: these labels stand for several scores each, and a threshold holds for each: {names}")
