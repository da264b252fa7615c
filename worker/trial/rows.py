"""The rows of a manifest, however it was written. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One image and its label."""

    where: str
    """`line 7`; of a directory the file itself."""
    source: str
    """The image as the manifest has it, by which two reports of one manifest are joined."""
    place: str
    """An address, or a path that leads there from here."""
    label: str
    """A label's name or its index in the model."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The rows of a trial, no image twice."""

    path: str
    rows: tuple[Row, ...]


def some(lines: Iterable[str]) -> Iterator[str]:
    """The first of many complaints, and how many more there are."""
    rest = iter(lines)
    yield from islice(rest, _SHOWN)
    if more := sum(1 for _ in rest):
        yield f"and {more} more like it"
