"""What the commands share: the global options, resolved into settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import typer

from worker.settings import Resolved, Settings, resolve


@dataclass(frozen=True, slots=True)
class Context:
    """The global options as given."""

    config: Path | None
    flags: tuple[str, ...]

    def resolve(self, *more: str) -> Resolved:
        """The settings; `more` are flags of the command's own, which win."""
        return resolve(self.config, (*self.flags, *more))


def settings_of(context: typer.Context, *more: str) -> Settings:
    """The resolved settings of a command."""
    options: Context = context.obj
    return options.resolve(*more).settings
