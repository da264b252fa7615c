"""The command line as its users have it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.clusters import PATIENCE_S

ROOT = Path(__file__).parent.parent


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "worker", *arguments]


def environment(**more: str) -> dict[str, str]:
    """This process's, without settings of the worker."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("IMAGE_WORKER_")}
    return {**plain, "PYTHONPATH": str(ROOT), **more}


def image_worker(*arguments: str, stdin: bytes | None = None, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end; `variables` are added to the environment."""
    return subprocess.run(
        command(*arguments), input=stdin, capture_output=True, timeout=PATIENCE_S, env=environment(**variables)
    )


def error_line(process: subprocess.CompletedProcess[bytes]) -> str:
    """The one line of a command that failed; asserts that it is one, and no traceback."""
    lines = process.stderr.decode().splitlines()
    assert len(lines) == 1, process.stderr.decode()
    assert lines[0].startswith("image-worker: ")
    return lines[0]
