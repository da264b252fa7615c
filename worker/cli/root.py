"""The root of the command line, which the command groups hang on: its global options, and how a command ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from worker import __version__
from worker.cli.common import Context

app = typer.Typer(
    name="image-worker",
    help="Classify the images that Kafka events name, in batches, and commit only what is done.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option("--config", help="Settings in a TOML file.", dir_okay=False)] = None,
    flags: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="A setting; wins over all else.")
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.obj = Context(config, tuple(flags or ()))


def leave(code: int) -> NoReturn:
    """End the process. A client whose broker went away could keep the interpreter from ending on its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
