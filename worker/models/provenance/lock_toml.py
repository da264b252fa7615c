"""Nested plain values as TOML for a reviewer: lists in lines, and no sign of a text that a screen would not show."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import tomlkit
from tomlkit.items import InlineTable, Item, String, StringType, Trivia

_NUMBERS_A_LINE = 10


def text(document: Mapping[str, Any]) -> str:
    """The document as TOML. A list of tables at the top is an array of tables; any other list has lines of its own."""
    written = tomlkit.document()
    for key, value in document.items():
        if isinstance(value, Mapping):
            written.add(key, _table(value))
        elif isinstance(value, Sequence) and value and isinstance(value[0], Mapping):
            tables = tomlkit.aot()
            for entry in value:
                tables.append(_table(entry))
            written.add(key, tables)
        else:
            written.add(key, _item(value))
    return written.as_string()


def _table(values: Mapping[str, Any]) -> tomlkit.items.Table:
    table = tomlkit.table()
    for key, value in values.items():
        table.add(key, _item(value))
    return table


def _item(value: Any) -> Item:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        return _inline(value)
    if isinstance(value, Sequence):
        return _array(value)
    number: Item = tomlkit.item(value)
    return number


def _inline(values: Mapping[str, Any]) -> InlineTable:
    table = tomlkit.inline_table()
    for key, value in values.items():
        table.append(key, _item(value))
    return table


def _array(values: Sequence[Any]) -> tomlkit.items.Array:
    array = tomlkit.array()
    if len(values) <= 3:
        array.extend(map(_item, values))
        return array
    step = _NUMBERS_A_LINE if isinstance(values[0], int | float) else 1
    for start in range(0, len(values), step):
        array.add_line(*map(_item, values[start : start + step]))
    array.add_line(indent="")
    return array


def _string(value: str) -> String:
    """A basic string. What is not printable (control characters, marks that turn the direction) stands as its code."""
    quoted = json.dumps(value, ensure_ascii=False)[1:-1]
    shown = "".join(sign if sign.isprintable() else _escaped(sign) for sign in quoted)
    return String(StringType.SLB, value, shown, Trivia())


def _escaped(sign: str) -> str:
    return f"\\U{ord(sign):08X}"
