"""The two columns of a manifest's file, be it CSV, TSV or JSON lines, told by its first line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from worker.errors import ConfigurationError

IMAGE_NAMES = ("file", "filename", "file_name", "path", "filepath", "image", "url", "source")
LABEL_NAMES = ("label", "label_name", "class", "class_name", "category", "target")
_SEPARATORS = ("\t", ",", ";")


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the columns, where the user gave any."""

    image: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What a line has in the two columns, without space around it; empty where it has nothing."""

    line: int
    image: str
    label: str

    def complaint(self) -> str | None:
        """What is wrong with it, if anything."""
        missing = [name for name, text in (("image", self.image), ("label", self.label)) if not text]
        return f"it has no {' and no '.join(missing)}: write both, or leave the line out" if missing else None


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    cells: Mapping[str, str]


def records(path: Path, columns: Columns) -> list[Record]:
    """The images and labels in a file, in its order; blank lines are skipped.

    Raises ConfigurationError where the file cannot be read, or does not have the columns.
    """
    text = _text(path)
    first = next((line for line in text.split("\n") if line.strip()), "")
    try:
        lines = list(_objects(text)) if first.lstrip().startswith("{") else _table(text, _separator(first), columns)
        image, label = _pick(list(lines[0].cells), columns) if lines else ("", "")
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from None
    return [Record(line.number, line.cells.get(image, ""), line.cells.get(label, "")) for line in lines]


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: the manifest cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{path}: line {line} is not UTF-8: save the file as UTF-8") from None


def _separator(first: str) -> str:
    found = next((sign for sign in _SEPARATORS if sign in first), None)
    if first and found is None:
        raise ValueError(
            f"line 1 is {first[:80]!r}: write an image and its label with a comma or a tab between, or one JSON object"
            " on each line"
        )
    return found or ","


def _table(text: str, separator: str, columns: Columns) -> list[_Line]:
    """The lines below a header; where there is none, all lines, with the first two columns named as they would be."""
    rows = list(_cells(text, separator))
    if not rows:
        return []
    header = [name.strip() for name in rows[0][1]]
    if _is_header(header, columns):
        return [_Line(number, dict(zip(header, cells, strict=False))) for number, cells in rows[1:]]
    return [_Line(number, dict(zip(("image", "label"), cells, strict=False))) for number, cells in rows]


def _cells(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line that has any, without space around them."""
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for cells in reader:
            if any(stripped := [cell.strip() for cell in cells]):
                yield reader.line_num, stripped
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from None


def _is_header(names: Sequence[str], columns: Columns) -> bool:
    """Whether it names columns. ImageNet has a label `file`, so a line with a path in it is none."""
    known = {*IMAGE_NAMES, *LABEL_NAMES}
    paths = any(sign in name for name in names for sign in "./")
    return columns != Columns() or (not paths and any(name.lower() in known for name in names))


def _objects(text: str) -> Iterator[_Line]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number} is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise ValueError(f"line {number} is no JSON object")
        yield _Line(number, {key: _cell(value) for key, value in found.items()})


def _cell(value: object) -> str:
    """Text and whole numbers; anything else is neither an image nor a label."""
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _pick(names: Sequence[str], columns: Columns) -> tuple[str, str]:
    """The names of the two columns. Raises ValueError."""
    image = _named(names, columns.image, IMAGE_NAMES)
    label = _named(names, columns.label, LABEL_NAMES)
    others = [name for name in names if name not in (image, label)]
    if len(names) == 2 and len(others) == 1:
        image, label = image or others[0], label or others[0]
    if image is None or label is None:
        option = "--image-column" if image is None else "--label-column"
        raise ValueError(f"the columns are {', '.join(names)}: say with {option} which one it is")
    return image, label


def _named(names: Sequence[str], wanted: str | None, known: Sequence[str]) -> str | None:
    if wanted is not None and wanted not in names:
        raise ValueError(f"there is no column {wanted!r}; the columns are {', '.join(names)}")
    return wanted or next((name for name in names if name.lower() in known), None)
