"""What is shown at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rich.table import Table

from tests.chaos.books import KINDS, Verdict
from tests.chaos.plan import Fault
from tests.chaos.wires import Wires

_COUNTS = ("events", "outcomes", *KINDS)


def verdicts(seed: int, found: Mapping[str, Verdict]) -> Table:
    """A row for each group."""
    table = Table("group", *(name.replace("_", "\n") for name in _COUNTS), title=f"chaos, seed {seed}")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, verdict in found.items():
        table.add_row(name, *(str(getattr(verdict, each)) for each in _COUNTS))
    return table


def faults(done: Counter[Fault]) -> str:
    """How many of each kind there were."""
    return "faults: " + ", ".join(f"{fault} {done[fault]}" for fault in Fault)


def broken(wires: Wires) -> str:
    """What the wires did."""
    return f"connections that broke: {wires.broken}, requests that came late: {len(wires.late)}"
