"""Reads a manifest: a table, JSON lines, or a directory with a folder for each label."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from worker.errors import ConfigurationError
from worker.sources import below, is_address
from worker.trial.columns import Columns, Record, records
from worker.trial.rows import Manifest, Row, some


def read(path: Path, columns: Columns) -> Manifest:
    """The manifest in a file, or of a directory. Paths in a file are relative to its own folder.

    Raises ConfigurationError with a line for each row that is wrong.
    """
    rows = _of_directory(path, columns) if path.is_dir() else _of_file(path, columns)
    if not rows:
        raise ConfigurationError(f"{path}: there is no image in it")
    _refuse_any(path, _repeated(rows))
    return Manifest(str(path), tuple(rows))


def _refuse_any(path: Path, complaints: Iterable[str]) -> None:
    if lines := [f"{path}: {complaint}" for complaint in some(complaints)]:
        raise ConfigurationError("\n".join(lines))


def _of_directory(root: Path, columns: Columns) -> list[Row]:
    if columns != Columns():
        raise ConfigurationError(f"{root} is a directory, which has no columns: its folders are the labels")
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    astray = (entry.name for entry in entries if not entry.is_dir())
    _refuse_any(root, (f"{name} is in no folder of a label: move it into one, or away" for name in astray))
    return [row for folder in entries for row in _labelled(root, folder)]


def _labelled(root: Path, folder: Path) -> Iterator[Row]:
    for path in sorted(below(str(folder))):
        if not path.name.startswith("."):
            source = path.relative_to(root).as_posix()
            yield Row(source, source, str(path), folder.name)


def _of_file(path: Path, columns: Columns) -> list[Row]:
    found = records(path, columns)
    wrong = ((record.line, complaint) for record in found if (complaint := record.complaint()))
    _refuse_any(path, (f"line {line}: {complaint}" for line, complaint in wrong))
    return [_row(record, path.parent) for record in found]


def _row(record: Record, folder: Path) -> Row:
    # Joined as text: `folder / "-"` is `-` in this folder, and that means stdin.
    place = record.image if is_address(record.image) else os.path.join(folder, record.image)
    return Row(f"line {record.line}", record.image, place, record.label)


def _repeated(rows: Iterable[Row]) -> Iterator[str]:
    """An image that counted twice would make every interval narrower than it is."""
    seen: dict[str, Row] = {}
    for row in rows:
        before = seen.setdefault(row.source, row)
        if before is not row:
            yield f"{row.where}: {row.source!r} stands at {before.where} already: leave one of them"
