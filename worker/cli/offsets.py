"""`image-worker offsets ...`: where a group is in its topic, and moving it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.common import numbers, quiet_logs, settings_of, table_console
from worker.cli.root import app

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from worker.kafka.groups import GroupLook
    from worker.kafka.moves import PartitionStanding
    from worker.kafka.offsets import TopicOffsets
    from worker.settings import Settings

group = typer.Typer(help="Show where a consumer group is, and move it while it is not at work.", no_args_is_help=True)
app.add_typer(group, name="offsets")

Group = Annotated[
    str | None, typer.Option("--group", help="The consumer group; else the one of `kafka.group_id`.", metavar="GROUP")
]
Partitions = Annotated[
    str | None, typer.Option(metavar="N,N-N,...", help="These partitions only.", show_default="all of them")
]


Row = tuple[Any, ...]


@group.command()
def show(context: typer.Context, name: Group = None, partitions: Partitions = None) -> None:
    """Show a group's state and members, and in each partition what it has committed and what is left."""
    from worker.kafka.moves import standings

    look, found, _ = _looks(context, name, partitions)
    membership = found.membership()
    typer.echo(f"group {found.group}: {membership}")
    shown = standings(look, found, membership)
    rows = [_row(number, standing) for number, standing in shown.items()]
    lags = [s.lag for s in shown.values() if s.lag is not None]
    total: Row = ("all", None, None, None, sum(lags) if lags else None, None, None, None)
    _print(look.topic, ("committed", "low", "high", "lag", "done ahead", "until", "member"), rows, total)
    if outlived := ",".join(str(n) for n, s in shown.items() if s.outlived):
        typer.echo(f"committed for a topic of this name that was deleted: --partitions {outlived}: see `offsets set`")
    if gone := {n: s.gone for n, s in shown.items() if s.gone}:
        where = ",".join(map(str, gone))
        typer.echo(
            f"deleted before they were done: {sum(gone.values())} offsets: --partitions {where}: see `offsets set`"
        )
    if beyond := ",".join(str(n) for n, s in shown.items() if s.is_beyond):
        typer.echo(f"past the end of the log, which was truncated: --partitions {beyond}: see `offsets set`")
    if untouched := _untouched(shown):
        where = ",".join(map(str, untouched))
        typer.echo(f"nothing committed yet: --partitions {where}: {sum(untouched.values())} offsets are there")


def _untouched(shown: Mapping[int, PartitionStanding]) -> dict[int, int]:
    """How many offsets there are in each partition of which nothing is committed; none of a replay's group.

    That has only the partitions that it was asked for.
    """
    if any(s.committed is not None and s.committed.until is not None for s in shown.values()):
        return {}
    return {n: count for n, s in shown.items() if s.committed is None and (count := s.extent.high - s.extent.low)}


def _row(number: int, standing: PartitionStanding) -> Row:
    done, extent = standing.committed, standing.extent
    base, ahead, until = (done.base, done.ahead or None, done.until) if done is not None else (None, None, None)
    return (number, base, extent.low, extent.high, standing.lag, ahead, until, standing.member)


@group.command("set")
def set_(
    context: typer.Context,
    to: Annotated[str, typer.Option("--to", metavar="TIME|OFFSET|beginning|end", help="The next record to be done.")],
    name: Group = None,
    partitions: Partitions = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what that would do, and do nothing.")] = False,
) -> None:
    """Move a group, and say what that skips or repeats. Refused while it has members: stop its workers first."""
    from worker.kafka.moves import effect_of, moves, require_idle
    from worker.kafka.points import parse_point

    point = parse_point("--to", to)
    look, found, settings = _looks(context, name, partitions)
    require_idle(found, settings.kafka.group_id)
    planned = moves(look, found, point, "--to")
    rows: list[Row] = [(n, move.before, move.after.base, move.effect) for n, move in planned.items()]
    counted = any(move.before is not None or move.left_out for move in planned.values())
    all_ = effect_of(list(planned.values())) if counted else None
    total: Row = ("all", None, None, all_)
    if not dry_run:
        found.set(look.topic, {number: move.position for number, move in planned.items()})
    _print(look.topic, ("before", "after", "effect"), rows, total)
    if point.utc is not None:
        typer.echo(f"--to {to} is {point.utc}")
    if left_out := ",".join(str(n) for n in look.numbers if n not in planned):
        typer.echo(f"left out: --partitions {left_out}: the replay of this group has no window there")
    typer.echo(f"group {found.group}: {'nothing was changed' if dry_run else 'moved'}")


def _looks(
    context: typer.Context, name: str | None, partitions: str | None
) -> tuple[TopicOffsets, GroupLook, Settings]:
    """The topic and the group that a command line names. An empty name is a mistake, not the live group."""
    from worker.errors import ConfigurationError
    from worker.kafka.groups import GroupLook
    from worker.kafka.offsets import TopicOffsets

    settings = settings_of(context)
    quiet_logs(settings.observe)
    look = TopicOffsets(settings.kafka, settings.kafka.topics.input, numbers(partitions))
    if name == "":
        raise ConfigurationError("--group: write a group's name, or leave it out for the one of `kafka.group_id`")
    return look, GroupLook(settings.kafka, name or settings.kafka.group_id), settings


def _print(topic: str, columns: Sequence[str], rows: Sequence[Row], total: Row) -> None:
    from rich.table import Table

    table = Table("partition", *columns, title=topic, title_justify="left", box=None)
    for row in (*rows, total) if len(rows) > 1 else rows:
        table.add_row(*("-" if cell is None else str(cell) for cell in row))
    table_console().print(table)
