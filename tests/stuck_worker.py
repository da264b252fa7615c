"""`python -m tests.stuck_worker PART SECTION.KEY=VALUE ...`: the real worker, of which one part stands still or dies.

The faults are put in here: nothing that a test can send makes a thread of the worker hang.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable

from confluent_kafka import Message

from worker.app import Worker
from worker.cli.root import leave
from worker.cli.run import run_until_signalled
from worker.errors import Fatal
from worker.kafka.source import Source
from worker.models.classifier import PixelBatch, ScoreBatch
from worker.models.thread import InferenceThread
from worker.observe.logs import set_up
from worker.settings import resolve
from worker.testing import FreeClassifier

BRIGHT = 200


def for_good() -> None:
    threading.Event().wait()


class StuckModel(FreeClassifier):
    """Hangs at a bright image; those that it is warmed up with are black."""

    def predict(self, batch: PixelBatch) -> ScoreBatch:
        if batch.mean() > BRIGHT:
            sys.stderr.write("the model hangs\n")
            for_good()
        return super().predict(batch)


def nothing() -> None:
    """The others are faulty from the beginning."""


def stick_kafka() -> None:
    def poll(_source: Source, _timeout_s: float) -> Message | None:
        for_good()
        return None

    Source.poll = poll  # type: ignore[method-assign]


def stick_loop() -> None:
    asyncio.get_running_loop().call_soon(for_good)


def die(_thread: InferenceThread) -> None:
    raise RuntimeError("nobody foresaw this")


FAULTS: dict[str, Callable[[], None]] = {"kafka": stick_kafka, "loop": stick_loop}


async def run(part: str, worker: Worker) -> None:
    def begin() -> None:
        if worker.status()["not_ready"]:
            asyncio.get_running_loop().call_later(0.1, begin)
        else:
            FAULTS.get(part, nothing)()

    begin()
    await run_until_signalled(worker)


if __name__ == "__main__":
    settings = resolve(None, sys.argv[2:], {}).settings
    set_up(settings.observe)
    if sys.argv[1] == "dead":
        InferenceThread._work = die  # type: ignore[method-assign]
    try:
        asyncio.run(run(sys.argv[1], Worker(settings, StuckModel())))
    except Fatal as error:
        sys.stderr.write(f"stuck_worker: {error}\n")
        leave(error.exit_code)
    leave(0)
