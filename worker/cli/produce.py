"""`image-worker produce`: events into the input topic."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.common import progress_bar, quiet_logs, settings_of
from worker.cli.root import app


class Encoding(StrEnum):
    JSON = "json"
    SINGLE_OBJECT = "single-object"
    CONFLUENT = "confluent"
    IMAGE = "image"


class Key(StrEnum):
    ADDRESS = "address"
    ID = "id"


@app.command(no_args_is_help=True)
def produce(
    context: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[ADDRESS|PATH|- ...]", help="`-` reads lines from stdin.")
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Every file below it.", exists=True, file_okay=False)
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="A line an event: an address, or a JSON object.", dir_okay=False)
    ] = None,
    inline: Annotated[bool, typer.Option("--inline", help="Send images themselves; as --encoding image.")] = False,
    encoding: Annotated[Encoding, typer.Option(help="How events are written.")] = Encoding.JSON,
    key: Annotated[Key, typer.Option(help="What the record's key is.")] = Key.ADDRESS,
    topic: Annotated[str | None, typer.Option(help="Instead of kafka.topics.input.")] = None,
) -> None:
    """Send events to the worker's input topic: from arguments, a directory, a file of lines, or stdin.

    A file is sent as its file:// address, which workers follow where images.schemes and images.file_roots let them.
    """
    from worker.kafka.events import EventMaker
    from worker.kafka.writer import Writer
    from worker.produce import from_all, send

    settings = settings_of(context)
    quiet_logs(settings.observe, "error")
    topic = topic or settings.kafka.topics.input
    maker = EventMaker(settings.events, (Encoding.IMAGE if inline else encoding).value, topic, key.value)
    with progress_bar() as progress:
        sent = progress.add_task(f"sent to {topic}", total=None)
        writer = Writer(settings.kafka, topic, delivered=lambda: progress.advance(sent))
        offers = from_all(words or [], directory, file, maker)
        try:
            send(offers, writer)
        finally:
            typer.echo(f"{writer.delivered} sent to {topic}")
