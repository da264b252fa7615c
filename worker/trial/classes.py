"""The labels that a manifest names, found among the model's. PURE."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.errors import ConfigurationError
from worker.policy import hint
from worker.trial.rows import Manifest, Row, some

_ByName = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """What answers are counted by: the model's labels, those made one that the manifest cannot tell apart.

    ImageNet has two cranes. A row that says `crane` is right with either, so the two are one class; where every row
    gives their indexes, they stay two.
    """

    names: tuple[str, ...]
    """For people: `tabby`, `crane (134 or 517)` for two made one, `crane (134)` where they stay apart."""
    of_label: npt.NDArray[np.intp]
    """(L,): the class of each of the model's labels."""

    def scores(self, raw: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(C,) float32 of (L,): of labels made one the highest, as the worker's own policy takes it."""
        if len(self.names) == len(self.of_label):
            return raw
        merged = np.zeros(len(self.names), np.float32)
        np.maximum.at(merged, self.of_label, raw)
        return merged


def find(manifest: Manifest, labels: Sequence[str]) -> tuple[Classes, npt.NDArray[np.intp]]:
    """The classes, and that of each row. Raises ConfigurationError for labels that the model does not have.

    A row's label is a name, with `_` for a space where that is no name itself, or else an index.
    """
    by_name: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(labels):
        by_name[name].append(index)
    named = [_name(row.label, by_name) for row in manifest.rows]
    _check(manifest, named, labels)
    merged = {name for name in named if name is not None and len(by_name[name]) > 1}
    _check_not_mixed(manifest, named, merged, by_name, labels)
    classes = _classes(labels, by_name, merged)
    truth = [
        int(row.label) if name is None else by_name[name][0] for row, name in zip(manifest.rows, named, strict=True)
    ]
    return classes, classes.of_label[np.array(truth, np.intp)]


def _name(label: str, by_name: _ByName) -> str | None:
    """The model's label of that name, if it has one. Folders and files often have `_` for a space."""
    return next((name for name in (label, label.replace("_", " ")) if name in by_name), None)


def _is_index(label: str, count: int) -> bool:
    return label.isascii() and label.isdigit() and int(label) < count


def _check(manifest: Manifest, named: Sequence[str | None], labels: Sequence[str]) -> None:
    unknown: dict[str, list[Row]] = defaultdict(list)
    for row, name in zip(manifest.rows, named, strict=True):
        if name is None and not _is_index(row.label, len(labels)):
            unknown[row.label].append(row)
    most_first = sorted(unknown.items(), key=lambda item: -len(item[1]))
    if unknown:
        raise ConfigurationError("\n".join(some(_complaint(manifest, *item, labels) for item in most_first)))


def _complaint(manifest: Manifest, label: str, rows: Sequence[Row], labels: Sequence[str]) -> str:
    count = "1 row" if len(rows) == 1 else f"{len(rows)} rows, the first"
    what = f"{manifest.path}: the model has no label {label!r} ({count} at {rows[0].where})"
    if len(rows) == 1 and rows[0].where == "line 1":
        return f"{what}; if that line is a header, name its columns with --image-column and --label-column"
    if label.isdigit():
        return f"{what}; its indexes go from 0 to {len(labels) - 1}"
    return f"{what}; {hint(label, labels)}"


def _check_not_mixed(
    manifest: Manifest, named: Sequence[str | None], merged: set[str], by_name: _ByName, labels: Sequence[str]
) -> None:
    for row, name in zip(manifest.rows, named, strict=True):
        if name is None and (same := labels[int(row.label)]) in merged:
            raise ConfigurationError(
                f"{manifest.path}: {row.where} has the index {row.label}, and other rows the name {same!r}, which"
                f" stands for {_either(by_name[same])}: write its index in all rows, or its name"
            )


def _classes(labels: Sequence[str], by_name: _ByName, merged: Iterable[str]) -> Classes:
    one = {name: by_name[name][0] for name in merged}
    first = [one.get(name, index) for index, name in enumerate(labels)]
    kept, of_label = np.unique(np.array(first, np.intp), return_inverse=True)
    names = [_shown(labels[index], index, by_name, labels[index] in one) for index in kept.tolist()]
    return Classes(tuple(names), of_label.astype(np.intp))


def _shown(name: str, index: int, by_name: _ByName, merged: bool) -> str:
    if len(by_name[name]) == 1:
        return name
    return f"{name} ({_either(by_name[name]) if merged else index})"


def _either(indexes: Iterable[int]) -> str:
    return " or ".join(map(str, indexes))
