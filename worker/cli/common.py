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
_DIGITS = 6
"""Of the largest number of a partition that is taken."""


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


def numbers(text: str | None, option: str = "--partitions") -> tuple[int, ...]:
    """Numbers and ranges with commas between, such as 0,4-6; none for None. Raises ConfigurationError."""
    return () if text is None else tuple(number for word in text.split(",") for number in _range(word.strip(), option))


def _range(word: str, option: str) -> range:
    from worker.errors import ConfigurationError

    first, dash, last = word.partition("-")
    ends = (first, last if dash else first)
    if not all(end.isdecimal() and len(end) <= _DIGITS for end in ends) or int(ends[0]) > int(ends[1]):
        raise ConfigurationError(
            f"{option} {word}: write partitions' numbers with commas between, such as 0,3 or 0,4-6"
        )
    return range(int(ends[0]), int(ends[1]) + 1)


def table_console() -> Console:
    """For tables on stdout: as wide as the terminal, and elsewhere so wide that no digest is folded."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _WIDE)
