"""Workers for tests: in this process on the event loop, or as processes of their own that can be killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.clusters import PATIENCE_S
from worker.app import Worker
from worker.models.classifier import Classifier
from worker.settings import Settings
from worker.testing import FreeClassifier


@asynccontextmanager
async def running(settings: Settings, classifier: Classifier | None = None) -> AsyncIterator[Worker]:
    """A worker in this process; stopped, with its drain, at the end."""
    worker = Worker(settings, classifier or FreeClassifier())
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await task


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that must come."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)
    assert condition(), what


@contextmanager
def worker_process(
    flags: list[str], log: Path, kind: Sequence[str] = ("tests.free_worker",)
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with the free model as a process of its own; killed at the end where it still runs."""
    with log.open("ab") as sink:
        command = [sys.executable, "-m", *kind, *flags]
        root = Path(__file__).parent.parent
        process = subprocess.Popen(command, cwd=root, stderr=sink, stdout=sink, env={**os.environ})
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
