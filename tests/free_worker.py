"""`python -m tests.free_worker SECTION.KEY=VALUE ...`: the real worker with a free model, as a process."""

from __future__ import annotations

import asyncio
import sys

from worker.app import Worker
from worker.cli.root import leave
from worker.cli.run import run_until_signalled
from worker.errors import Fatal
from worker.observe.logs import set_up
from worker.settings import resolve
from worker.testing import FreeClassifier

if __name__ == "__main__":
    settings = resolve(None, sys.argv[1:], {}).settings
    set_up(settings.observe)
    try:
        asyncio.run(run_until_signalled(Worker(settings, FreeClassifier())))
    except Fatal as error:
        sys.stderr.write(f"free_worker: {error}\n")
        leave(error.exit_code)
    leave(0)
