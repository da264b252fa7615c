"""`image-worker classify`: the chain without Kafka."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.common import progress_bar, quiet_logs, settings_of
from worker.cli.root import app

if TYPE_CHECKING:
    from worker.settings import Settings


_WIDEST = 60


@app.command()
def classify(
    context: typer.Context,
    sources: Annotated[list[str], typer.Argument(metavar="PATH|DIR|URL|- ...", help="`-` is an image on stdin.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Classify images without Kafka: label, score and action of each, or why it was rejected.

    Paths are your own files and are all read; addresses are fetched by the policy that the worker has.
    """
    settings = settings_of(context)
    quiet_logs(settings.observe)
    asyncio.run(_classify(settings, sources, as_json))


async def _classify(settings: Settings, words: list[str], as_json: bool) -> None:
    from worker.local import LocalImages
    from worker.observe.metrics import Metrics
    from worker.opening import open_chain
    from worker.sources import expand

    sources = list(expand(words))
    width = min(max(map(len, sources), default=0), _WIDEST)
    async with open_chain(settings, Metrics()) as room:
        images = LocalImages(room, settings.images, at_once=4 * room.batch_size)
        with progress_bar() as progress:
            for_all = progress.add_task("classified", total=len(sources))
            async for verdict in images.verdicts(sources):
                if as_json:
                    _print(json.dumps(verdict.as_json(settings.events.top_k)))
                else:
                    _print(verdict.as_line(width))
                progress.advance(for_all)


def _print(line: str) -> None:
    # Not typer.echo, which writes past the progress bar to the terminal that it is on.
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
