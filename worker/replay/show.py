"""Shows how far a replay is: a bar on a terminal, else a line of the log now and then. On the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from worker.kafka.standing import Standing
from worker.observe.logs import set_up
from worker.observe.settings import ObserveSettings
from worker.replay.meter import Meter, Reading, paced, spoken

log = structlog.get_logger(__name__)

_EVERY_S = 1.0
_LOG_EVERY_S = 30.0


@asynccontextmanager
async def shown(settings: ObserveSettings, standing: Standing) -> AsyncIterator[None]:
    """Show how far a replay is. Sets the log up: on a terminal the bar says what the information in it would."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        # After the bar is there: what is logged from now on stands above it.
        has_bar = console.is_terminal and settings.log_level == "info"
        set_up(settings.model_copy(update={"log_level": "warning"}) if has_bar else settings)
        following = asyncio.create_task(_follow(standing, bar))
        try:
            yield
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following


async def _follow(standing: Standing, bar: Progress) -> None:
    total = standing.remaining
    meter, logged_s = Meter(total, time.monotonic()), time.monotonic()
    task = bar.add_task("replayed", total=total, pace="")
    try:
        while True:
            await asyncio.sleep(_EVERY_S)
            reading = meter.read(standing.remaining, time.monotonic())
            pace = f"{paced(reading.per_s)}, {spoken(reading.left_s)} left"
            bar.update(task, completed=reading.done, total=reading.total, pace=pace)
            if bar.disable and time.monotonic() - logged_s >= _LOG_EVERY_S:
                logged_s = time.monotonic()
                _log(reading)
    finally:
        # What stays on the terminal is how it ended.
        reading = meter.read(standing.remaining, time.monotonic())
        bar.update(task, completed=reading.done, total=reading.total, pace=paced(reading.per_s))


def _log(reading: Reading) -> None:
    log.info(
        "replay.progress",
        done=reading.done,
        of=reading.total,
        records_per_s=round(reading.per_s, 1),
        left=spoken(reading.left_s),
    )
