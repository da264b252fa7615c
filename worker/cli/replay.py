"""`image-worker replay`: a window of the topic again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.common import numbers, quiet_logs, resolved, table_console
from worker.cli.root import app, leave
from worker.cli.run import run_until_signalled

if TYPE_CHECKING:
    from worker.replay.job import Job

_POINT = "TIME|OFFSET|beginning"


@app.command()
def replay(
    context: typer.Context,
    start: Annotated[str, typer.Option("--from", metavar=_POINT, help="The first record in each partition.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME|OFFSET|now", help="Where to end: before this.")] = "now",
    partitions: Annotated[
        str | None, typer.Option(metavar="N,N-N,...", help="These partitions only.", show_default="all of them")
    ] = None,
    identity: Annotated[
        str | None, typer.Option("--id", help="Names the replay. Left out, it is made of what is asked and the model.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="Where results go, instead of a topic of the replay's own.")
    ] = None,
    dead_letters: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="Where dead letters go, instead of a topic of its own.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=1, metavar="RECORDS/S", help="Take in no more, in this process.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and how long it takes.")] = False,
) -> None:
    """Do a window of the topic again, in a group and into topics of its own, and end.

    Any number of processes may share a replay, and one that was stopped goes on: start the same command again.
    """
    from worker.replay.job import prepare
    from worker.replay.request import Request

    found = resolved(context)
    quiet_logs(found.settings.observe)
    job = prepare(found, Request(start, end, numbers(partitions), identity, output, dead_letters, rate))
    typer.echo(job.heading())
    if job.plan.complete:
        typer.echo(f"replay {job.plan.id} is done already; another --id does it again")
    elif dry_run:
        asyncio.run(_rehearse(job))
    else:
        job.make_topics()
        asyncio.run(_run(job))
        typer.echo(f"replay {job.plan.id} is done")
    leave(0)


async def _rehearse(job: Job) -> None:
    from worker.replay.rehearsal import rehearse

    table_console().print((await rehearse(job)).table())


async def _run(job: Job) -> None:
    from worker.replay.show import shown

    worker, standing = job.worker()
    async with shown(job.plan.settings.observe, standing):
        await run_until_signalled(worker)
    job.require_complete(standing)
