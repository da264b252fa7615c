"""`image-worker watch`: results or dead letters, as they come."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.common import quiet_logs, settings_of
from worker.cli.root import app

if TYPE_CHECKING:
    from worker.settings import Settings


@app.command()
def watch(
    context: typer.Context,
    dead_letters: Annotated[bool, typer.Option("--dead-letters", help="Dead letters instead of results.")] = False,
    start: Annotated[
        str, typer.Option("--from", metavar="beginning|end|OFFSET|TIME", help="Where to begin in each partition.")
    ] = "end",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
) -> None:
    """Print results, those in topics of actions too, or dead letters. Joins no group and commits nothing."""
    settings = settings_of(context)
    quiet_logs(settings.observe)
    with suppress(KeyboardInterrupt):
        asyncio.run(_watch(settings, dead_letters, start, as_json, count))


async def _watch(settings: Settings, dead_letters: bool, start: str, as_json: bool, count: int | None) -> None:
    from rich.console import Console

    from worker import watch
    from worker.kafka.points import parse_point

    console = Console(soft_wrap=True, highlight=False)
    topics, left = watch.outcome_topics(settings, dead_letters), count
    async with aclosing(watch.follow(settings, topics, parse_point("--from", start))) as outcomes:
        while left != 0:
            seen = await anext(outcomes)
            left = left and left - 1
            if as_json:
                typer.echo(json.dumps(watch.as_json(seen)))
            else:
                console.print(watch.as_line(seen))
