"""The command `image-worker`. One file a command group: parse and delegate, nothing else."""

from __future__ import annotations

from worker.cli.main import main

__all__ = ["main"]
