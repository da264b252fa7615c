"""`image-worker model calibrate`: how large a batch should be on this device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.common import progress_bar, quiet_logs, settings_of
from worker.cli.model import group
from worker.errors import ConfigurationError

if TYPE_CHECKING:
    from worker.models.calibrate import Limits, Measurement
    from worker.settings import Settings

_BAR = 20


@group.command()
def calibrate(
    context: typer.Context,
    max_size: Annotated[int, typer.Option(min=1, max=4096, help="The largest batch to try.")] = 256,
    max_latency_ms: Annotated[float | None, typer.Option(min=0, help="Longest that a batch may take.")] = None,
    max_memory_mib: Annotated[int | None, typer.Option(min=1, help="Most that may be resident or allocated.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Time for all sizes together, about.")] = 60.0,
    write: Annotated[bool, typer.Option("--write", help="Put the result into the file of --config.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw throughput, latency, memory: .svg, .png, .pdf.")] = None,
) -> None:
    """Measure batch sizes on this device, and pick the smallest within 5 % of the best throughput.

    The model runs alone: while the worker decodes on the same CPUs, it has less of them.
    """
    from worker.models.calibrate import Limits, choose
    from worker.models.curves import draw, require_drawable
    from worker.settings_file import put

    settings, options = settings_of(context), context.obj
    quiet_logs(settings.observe, "error")
    if write and options.config is None:
        raise ConfigurationError("--write: there is no file to write to: name it, image-worker --config FILE model ...")
    if plot is not None:
        require_drawable(plot)
    limits = Limits(
        None if max_latency_ms is None else max_latency_ms / 1000,
        None if max_memory_mib is None else max_memory_mib * 2**20,
    )
    found = _measure(settings, max_size, seconds, limits)
    chosen = choose(found, limits)
    _print(found, chosen)
    if plot is not None:
        draw(found, chosen, plot)
        typer.echo(f"the plot: {plot}")
    if write:
        put(options.config, ("batch", "max_size"), chosen.size)
        typer.echo(f"written to {options.config}: batch.max_size = {chosen.size}")


def _measure(settings: Settings, max_size: int, seconds: float, limits: Limits) -> list[Measurement]:
    from worker.models.calibrate import measure
    from worker.models.load import load

    classifier = load(settings.model)
    with progress_bar() as progress:
        task = progress.add_task("measuring", total=100)
        return measure(
            classifier, max_size, seconds, limits, lambda done: progress.update(task, completed=round(100 * done))
        )


def _print(found: list[Measurement], chosen: Measurement) -> None:
    from rich.console import Console
    from rich.table import Table

    best = max(each.images_per_s for each in found)
    table = Table(box=None, pad_edge=False)
    table.add_column("batch")
    table.add_column("", width=_BAR, no_wrap=True)
    for name in ("images/s", "of best", "one batch", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for each in found:
        share = each.images_per_s / best
        table.add_row(
            str(each.size),
            "\u2588" * round(_BAR * share),
            f"{each.images_per_s:.1f}",
            f"{share:.0%}",
            f"{1000 * each.latency_s:.1f} ms",
            f"{each.memory_bytes / 2**20:.0f} MiB",
            "chosen" if each is chosen else "",
        )
    Console().print(table)
    typer.echo(f"batch.max_size = {chosen.size}")
