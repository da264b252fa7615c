"""What the demo showed, for a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from worker.demo.figures import Figures, Showing, Sight
from worker.watch import bar

_ACTION_STYLES = {"block": "bold red", "review": "yellow", "allow": "green"}


def tables(showing: Showing) -> RenderableType:
    """The pictures, the dead letters, and the figures of the run."""
    return Group(_pictures(showing), "", _dead_letters(showing), "", _figures(showing.figures))


def _pictures(showing: Showing) -> Table:
    table = _table("What the photographs were taken for")
    table.add_column("picture", ratio=1)
    table.add_column("taken for", no_wrap=True)
    table.add_column("score", no_wrap=True)
    table.add_column("action", no_wrap=True)
    table.add_column("same in", no_wrap=True)
    for sight in showing.sights:
        table.add_row(*_cells(sight))
    return table


def _cells(sight: Sight) -> tuple[Text, ...]:
    decision = sight.best["decision"]
    score = Text.assemble((bar(decision["score"]), "cyan"), f" {decision['score']:.2f}")
    action = Text(decision["action"], _ACTION_STYLES[decision["action"]])
    same = f"{sight.agreeing} of {len(sight.by_format)}"
    return Text(sight.photograph.title), Text(decision["label"], "bold"), score, action, Text(same)


def _dead_letters(showing: Showing) -> Table:
    table = _table("Dead letters, and why")
    table.add_column("sent", ratio=1)
    table.add_column("reason", no_wrap=True)
    table.add_column("detail", ratio=1, overflow="fold")
    for refusal in showing.refusals:
        table.add_row(refusal.title, Text(refusal.letter.reason, "red"), Text(refusal.letter.detail))
    return table


def _figures(figures: Figures) -> Table:
    table = _table(
        f"{figures.images} images at {figures.images_per_s:.0f} images/s, in batches of {batches(figures)} "
        "(all events were sent at once)"
    )
    table.add_column("time of an image")
    table.add_column("p50", justify="right")
    table.add_column("p99", justify="right")
    for times in figures.times:
        table.add_row(times.stage, f"{times.p50_ms:.1f} ms", f"{times.p99_ms:.1f} ms")
    return table


def batches(figures: Figures) -> str:
    """The sizes of the batches, as in `28 (x2), 4`."""
    sizes = [f"{size} (x{count})" if count > 1 else str(size) for size, count in figures.batches.items()]
    return ", ".join(sizes)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
