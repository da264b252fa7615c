"""What the commands share: the global options resolved into settings, quiet logs, and a progress bar.

What takes long to import is imported where it is used, so that a command waits for nothing that it does not need.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from worker.observe.settings import ObserveSettings
    from worker.settings import Resolved, Settings


_WIDE = 240


@dataclass(frozen=True, slots=True)
class Context:
    """The global options as given."""

    config: Path | None
    flags: tuple[str, ...]


def resolved(context: typer.Context) -> Resolved:
    """The settings, each with its source."""
    from worker.settings import resolve

    options: Context = context.obj
    return resolve(options.config, options.flags)


def settings_of(context: typer.Context) -> Settings:
    """The resolved settings of a command."""
    return resolved(context).settings


def quiet_logs(settings: ObserveSettings, level: Literal["warning", "error"] = "warning") -> None:
    """Log this level and worse only: the command's output is its own."""
    from worker.observe.logs import set_up

    set_up(settings.model_copy(update={"log_level": level}))


def progress_bar() -> Progress:
    """A bar on stderr where that is a terminal, else nothing. Lines printed while it is shown stand above it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
        # Only what goes to the same terminal may be moved above the bar: a pipe keeps its own.
        redirect_stdout=sys.stdout.isatty(),
    )


def numbers(text: str, option: str = "--partitions") -> tuple[int, ...]:
    """Numbers with commas between. Raises ConfigurationError."""
    from worker.errors import ConfigurationError

    words = [word.strip() for word in text.split(",") if word.strip()]
    if wrong := [word for word in words if not word.isdecimal()]:
        raise ConfigurationError(f"{option} {wrong[0]}: write partitions' numbers with commas between, such as 0,3")
    return tuple(map(int, words))


def table_console() -> Console:
    """For tables on stdout: as wide as the terminal, and elsewhere so wide that no digest is folded."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _WIDE)
