"""The demo from beginning to end: set the stage, send the events, collect the outcomes, show them."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from worker.demo.cast import Role, roles
from worker.demo.figures import Showing, add_up
from worker.demo.page import page
from worker.demo.stage import BLOCKED_TOPIC, Stage, stage
from worker.demo.table import tables
from worker.errors import ConfigurationError, Fatal
from worker.kafka.points import Point
from worker.kafka.writer import Writer
from worker.watch import Seen, as_line, follow

_PATIENCE_S = 45.0


async def perform(report: Path, keep: bool, console: Console, progress: Progress) -> None:
    """Run the demo and write its report. With `keep`, go on until SIGINT or SIGTERM.

    Raises Fatal where an outcome does not come, ConfigurationError where the demo's extra is not installed.
    """
    if not report.resolve().parent.is_dir():
        raise ConfigurationError(f"--report {report}: there is no such directory")
    console.print("Starting an embedded Kafka, a web server with photographs, the model and the worker.")
    async with AsyncExitStack() as stack:
        with console.status("loading the model, and encoding photographs"):
            scene = await stack.enter_async_context(stage())
        _introduce(scene, console)
        cast = roles(scene.photographs, scene.web)
        topics = scene.settings.kafka.topics
        following = follow(scene.settings, [topics.results, topics.dead_letters, BLOCKED_TOPIC], Point())
        outcomes = await stack.enter_async_context(aclosing(following))
        await asyncio.to_thread(_send, scene, cast)
        showing = add_up(cast, await _collect(scene, outcomes, len(cast), progress))
        _show(showing, report, console)
        if keep:
            await _keep(scene, outcomes, console)


def _introduce(scene: Stage, console: Console) -> None:
    topics = scene.settings.kafka.topics
    console.print(f"  Kafka       {scene.settings.kafka.bootstrap_servers}, events in {topics.input}", highlight=False)
    console.print(f"  web server  {scene.web}, {len(scene.photographs)} photographs", highlight=False)
    console.print(f"  worker      ready; metrics at http://127.0.0.1:{scene.worker.port}/metrics\n", highlight=False)


def _send(scene: Stage, cast: Sequence[Role]) -> None:
    writer = Writer(scene.settings.kafka, scene.settings.kafka.topics.input, delivered=lambda: None)
    for role in cast:
        writer.write(role.event)
    writer.finish()
    if writer.failures:
        raise Fatal(f"the demo's events were not sent: {writer.failures[0]}")


async def _collect(scene: Stage, outcomes: AsyncGenerator[Seen, None], count: int, progress: Progress) -> list[Seen]:
    """As many outcomes as there are events."""
    seen: list[Seen] = []
    try:
        async with asyncio.timeout(_PATIENCE_S):
            with progress:
                for_all = progress.add_task("outcomes", total=count)
                while (outcome := await _next(outcomes, scene.running)) is not None:
                    seen.append(outcome)
                    progress.advance(for_all)
                    if len(seen) == count:
                        return seen
    except TimeoutError:
        pass
    else:
        await scene.running
    raise Fatal(f"only {len(seen)} of {count} outcomes came within {_PATIENCE_S:g} s")


async def _next(outcomes: AsyncGenerator[Seen, None], *ends: asyncio.Future[Any]) -> Seen | None:
    """The next outcome, or None where one of the ends came first."""
    following = asyncio.ensure_future(anext(outcomes))
    try:
        await asyncio.wait([following, *ends], return_when=asyncio.FIRST_COMPLETED)
        return following.result() if following.done() else None
    finally:
        following.cancel()
        await asyncio.wait([following])


def _show(showing: Showing, report: Path, console: Console) -> None:
    console.print(tables(showing))
    try:
        report.write_text(page(showing), encoding="utf-8")
    except OSError as error:
        raise Fatal(f"--report {report}: {error.strerror}") from error
    console.print(f"\nThe report with the pictures: {report.resolve()}", highlight=False, soft_wrap=True)


async def _keep(scene: Stage, outcomes: AsyncGenerator[Seen, None], console: Console) -> None:
    """Print outcomes as they come, until a signal."""
    asked = asyncio.get_running_loop().create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _ask, asked)
    _explain(scene, console)
    while (outcome := await _next(outcomes, asked, scene.running)) is not None:
        console.print(as_line(outcome), soft_wrap=True, highlight=False)


def _ask(asked: asyncio.Future[None]) -> None:
    if not asked.done():
        asked.set_result(None)


def _explain(scene: Stage, console: Console) -> None:
    command = f"{_program()} --set kafka.bootstrap_servers={scene.settings.kafka.bootstrap_servers}"
    lines = [
        "\nIt goes on running. In another terminal, send it more:",
        f"  {command} produce {scene.web}/coffee.webp",
        f"  {command} produce --inline PICTURE.jpg",
        f"  {command} watch",
        "Ctrl-C here stops it.\n",
    ]
    console.print("\n".join(lines), highlight=False, soft_wrap=True, markup=False)


def _program() -> str:
    """How this command is called from a shell."""
    name = Path(sys.argv[0])
    return shlex.quote(str(name)) if name.name == "image-worker" else f"{shlex.quote(sys.executable)} -m worker"
