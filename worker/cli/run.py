"""`image-worker run`: the worker."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import typer

from worker.cli.common import settings_of
from worker.cli.root import app, leave

if TYPE_CHECKING:
    from worker.app import Worker


@app.command()
def run(context: typer.Context) -> None:
    """Run the worker until SIGTERM or SIGINT, which drain and exit 0; a second one leaves at once."""
    from worker.app import Worker
    from worker.observe.logs import set_up

    settings = settings_of(context)
    set_up(settings.observe)
    asyncio.run(run_until_signalled(Worker(settings)))
    leave(0)


async def run_until_signalled(worker: Worker) -> None:
    """Run a worker under the signals' rules."""
    asked = 0

    def ask() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            # No cleanup: what is not settled is not committed, and the decode processes end with their sockets.
            os._exit(128 + signal.SIGTERM)
        worker.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ask)
    await worker.run()
