"""What changed between two locks, for the one who reviews the newer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

from worker.models.provenance.golden import compare
from worker.models.provenance.lock import Export, Lock, LockedFile
from worker.printable import printable

_NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs, each side as one line."""

    subject: str
    before: str
    after: str


def changes(before: Lock, after: Lock) -> Iterator[Change]:
    """What differs, in the order of the file: facts, labels, versions, files, and the scores that moved."""
    yield from _entries("", _facts(before), _facts(after))
    yield from _entries("licence.", asdict(before.licence), asdict(after.licence))
    yield from _entries("recipe.", asdict(before.recipe), asdict(after.recipe))
    for index, (old, new) in enumerate(zip_longest(before.labels, after.labels)):
        if old != new:
            yield Change(f"label {index}", _shown(old), _shown(new))
    yield from _entries("version of ", before.versions, after.versions)
    yield from _entries("file ", _files(before), _files(after))
    yield from _entries("export ", _exports(before), _exports(after))
    yield from _scores(before, after)


def _facts(lock: Lock) -> dict[str, Any]:
    return {key: getattr(lock, key) for key in ("source", "name", "revision", "architecture", "base_models")}


def _files(lock: Lock) -> dict[str, str]:
    return {file.name: _bytes(file) for file in lock.files}


def _exports(lock: Lock) -> dict[str, str]:
    return {export.file: _bytes(export) for export in lock.exports}


def _bytes(file: LockedFile | Export) -> str:
    return f"{file.size} bytes, sha256 {file.sha256[:16]}"


def _entries(prefix: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for key in [*before, *(key for key in after if key not in before)]:
        old, new = before.get(key), after.get(key)
        if old != new:
            yield Change(printable(f"{prefix}{key}"), _shown(old), _shown(new))


def _scores(before: Lock, after: Lock) -> Iterator[Change]:
    """Photograph by photograph: the best label, and where the labels are the same, the score that moved most."""
    then = {golden.photograph: golden for golden in before.golden}
    for now in after.golden:
        old = then.get(now.photograph)
        if old == now:
            continue
        label, score = after.top(now)[0]
        here = f"{label} {score:.6g}"
        if old is None:
            yield Change(f"scores of {now.photograph}", _NOTHING, _shown(here))
            continue
        if before.labels == after.labels:
            found = compare(old, now, after.labels, "fp32")
            here += f", largest change {found.difference:.1e} ({found.label})"
        best, was = before.top(old)[0]
        yield Change(f"scores of {now.photograph}", _shown(f"{best} {was:.6g}"), _shown(here))


def _shown(value: Any) -> str:
    if value is None or value == ():
        return _NOTHING
    return printable(", ".join(map(str, value)) if isinstance(value, tuple) else str(value))
