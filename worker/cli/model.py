"""`image-worker model ...`: the group of commands on a model itself."""

from __future__ import annotations

import typer

from worker.cli.root import app

group = typer.Typer(help="Lock a model to its bytes, verify it, export it, measure it.", no_args_is_help=True)
app.add_typer(group, name="model")
