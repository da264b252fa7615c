"""`image-worker config`: the settings as they are resolved, and their reference."""

from __future__ import annotations

import typer

from worker.cli.common import resolved
from worker.cli.root import app

config = typer.Typer(help="The settings: what they are and where each came from; the full reference.")
app.add_typer(config, name="config", no_args_is_help=True)


@config.command()
def show(context: typer.Context) -> None:
    """Print the resolved settings as TOML, each with its source; secrets are masked."""
    from worker.reference import shown

    for line in shown(resolved(context)):
        typer.echo(line)


@config.command()
def reference() -> None:
    """Print the full reference as Markdown: key, type, default, environment name, description."""
    from worker.reference import reference as text

    typer.echo(text(), nl=False)
