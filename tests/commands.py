"""Command lines as they stand in documents and deployments, held against the command line's own parser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from worker.cli.root import app


@dataclass(frozen=True, slots=True)
class Parsed:
    """A command line that the parser took."""

    command: str
    config: Path | None
    flags: tuple[str, ...]
    options: dict[str, Any]
    """Of the command itself."""


def parse(words: Sequence[str]) -> Parsed:
    """Parse the words after `image-worker`, running nothing. Raises the parser's UsageError."""
    command: Any = typer.main.get_command(app)
    names: list[str] = []
    with command.make_context("image-worker", list(words)) as context:
        rest = [*context._protected_args, *context.args]
        while hasattr(command, "resolve_command"):
            name, command, rest = command.resolve_command(context, rest)
            names.append(name)
        options = command.make_context(names[-1], rest, parent=context).params
        return Parsed(" ".join(names), context.params["config"], tuple(context.params["flags"] or ()), options)
