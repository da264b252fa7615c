"""Kafka's classes as the JVM has loaded them once, in a file: with it a broker starts in half of the time.

The JVM writes it at an orderly end (JEP 350), which a broker of a test seldom has: so one is started and stopped for
it, once on a machine.
"""

from __future__ import annotations

import fcntl
import hashlib
import signal
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

Started = Callable[[str], AbstractContextManager[subprocess.Popen[bytes] | None]]
"""Starts a broker with an option of the JVM's, and has it until it answers; None where it does not."""

_PATIENCE_S = 60.0


def archive(classpath: str, started: Started) -> list[str]:
    """The JVM's options for it; none where it cannot be made."""
    path = _path(classpath)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _make(path, started)
    return [f"-XX:SharedArchiveFile={path}"] if path.stat().st_size else []


@cache
def _path(classpath: str) -> Path:
    """By the Java and the jars that it is good for: of others the JVM makes no use."""
    java = subprocess.run(["java", "-version"], capture_output=True, check=True).stderr
    digest = hashlib.sha256(java + classpath.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"image-worker-kafka-{digest}.jsa"


def _make(path: Path, started: Started) -> None:
    """An empty file, where it cannot be made: nobody tries again."""
    new = path.with_suffix(".new")
    with started(f"-XX:ArchiveClassesAtExit={new}") as broker:
        if broker is not None:
            broker.send_signal(signal.SIGTERM)
            broker.wait(_PATIENCE_S)
    if not new.exists():
        new.touch()
    new.rename(path)
