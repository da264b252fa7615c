"""`image-worker watch`: results or dead letters, as they come."""

from __future__ import annotations

import json
from contextlib import closing, suppress
from itertools import islice
from typing import Annotated

import typer

from worker.cli.common import quiet_logs, settings_of
from worker.cli.main import app


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
    from rich.console import Console

    from worker.kafka.outcomes import OutcomeDecoder
    from worker.kafka.reader import Reader, parse_start
    from worker.watch import as_json as row
    from worker.watch import as_line, follow, outcome_topics

    settings = settings_of(context)
    quiet_logs(settings.observe)
    console = Console(soft_wrap=True, highlight=False)
    topics, begin = outcome_topics(settings, dead_letters), parse_start(start)
    with (
        suppress(KeyboardInterrupt),
        closing(Reader(settings.kafka, topics, begin)) as reader,
        closing(OutcomeDecoder(settings.events)) as decoder,
    ):
        for seen in islice(follow(reader, decoder, dead_letters), count):
            if as_json:
                typer.echo(json.dumps(row(seen)))
            else:
                console.print(as_line(seen))
