"""The console script: every command group, and errors as one line with an exit code."""

from __future__ import annotations

import sys

from worker.cli import (
    check,
    classify,
    config,
    demo,
    evaluate,
    model_calibrate,
    model_export,
    model_lock,
    model_verify,
    offsets,
    produce,
    replay,
    run,
    watch,
)
from worker.cli.root import app, leave
from worker.errors import Fatal

COMMAND_GROUPS = (
    run,
    demo,
    check,
    classify,
    evaluate,
    produce,
    watch,
    replay,
    offsets,
    model_calibrate,
    model_export,
    model_lock,
    model_verify,
    config,
)
"""Each registered its commands with the root when it was imported."""


def main() -> None:
    """The console script. Fatal errors are one line on stderr; exit code 2 for the configuration, 1 otherwise."""
    try:
        app()
    except Fatal as error:
        for line in str(error).splitlines():
            print(f"image-worker: {line}", file=sys.stderr)  # noqa: T201
        leave(error.exit_code)
