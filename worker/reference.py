"""The settings as people read them: what is set, from where, with secrets masked; and the full reference."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from worker.settings import PREFIX, KeyPath, Origins, Resolved, Settings, section_at

MASK = "********"
_SECRET = re.compile(r"password|secret|token|sasl\.jaas|credential|\bkey\b|key\.pem|user\.info", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_LIMITS = {Ge: ("ge", "≥ {}"), Gt: ("gt", "> {}"), Le: ("le", "≤ {}"), Lt: ("lt", "< {}"), MinLen: ("min_length", "")}

_INTRODUCTION = f"""\
# Settings

Made by `image-worker config reference` from the fields in the code; a test compares this page with it.

A flag `--set section.key=value` wins over the environment, which wins over the file of `--config FILE.toml`, which wins
over the default. In the environment a key is `{PREFIX}SECTION__KEY`, lists and tables are written as JSON.
"""


def shown(resolved: Resolved) -> Iterator[str]:
    """The resolved settings as lines of TOML, each with its source in a comment. Secrets are masked."""
    for path, value in _leaves(resolved.settings):
        key, source = ".".join(map(_quoted, path)), _origin(path, resolved.origins)
        if value is None:
            yield f"# {key} is not set  # {source}"
        else:
            yield f"{key} = {_toml(_masked(path, value))}  # {source}"


def reference() -> str:
    """Every key with type, default, environment name and description, as Markdown."""
    parts = [_INTRODUCTION]
    for path, section in _sections(Settings):
        lines = (section.__doc__ or "").strip().splitlines()
        rows = [_row(path, name, field) for name, field in section.model_fields.items() if _is_leaf((*path, name))]
        table = ["| Key | Type | Default | Environment | What it is |", "|---|---|---|---|---|", *rows]
        parts.append("\n".join([f"## {'.'.join(path)}", "", *lines, "", *table]) + "\n")
    return "\n".join(parts)


def _leaves(section: BaseModel, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    for name in type(section).model_fields:
        value, below = getattr(section, name), (*path, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, below)
        elif isinstance(value, Mapping) and value:
            yield from (((*below, str(key)), entry) for key, entry in value.items())
        else:
            yield below, value


def _origin(path: KeyPath, origins: Origins) -> str:
    """Where a value came from; of a table, where anything in it came from."""
    return next((origins[p] for p in origins if p[: len(path)] == path or path[: len(p)] == p), "default")


def _masked(path: KeyPath, value: Any) -> Any:
    """The value without secrets: passwords and keys by their names, and user and password in an address."""
    if isinstance(value, SecretStr) or (path[:1] == ("kafka",) and len(path) > 2 and _SECRET.search(path[-1])):
        return MASK
    return _USERINFO.sub(MASK, value) if isinstance(value, str) else value


def _quoted(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(str(key))} = {_toml(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return json.dumps(str(value.value if isinstance(value, Enum) else value), ensure_ascii=False)


def _sections(section: type[BaseModel], path: KeyPath = ()) -> Iterator[tuple[KeyPath, type[BaseModel]]]:
    for name in section.model_fields:
        below = section_at((*path, name))
        if below is not None:
            yield (*path, name), below
            yield from _sections(below, (*path, name))


def _is_leaf(path: KeyPath) -> bool:
    return section_at(path) is None


def _row(path: KeyPath, name: str, field: FieldInfo) -> str:
    key = (*path, name)
    environment = f"{PREFIX}{'__'.join(key).upper()}"
    description = " ".join((field.description or "").split())
    cells = [f"`{'.'.join(key)}`", _type(field), _default(field), f"`{environment}`", description]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    return "not set" if value is None or value is PydanticUndefined else f"`{_toml(value)}`"


def _type(field: FieldInfo) -> str:
    limits = [text for entry in field.metadata if (text := _limit(entry))]
    return ", ".join([_name(field.annotation), *limits])


def _limit(entry: Any) -> str:
    attribute, text = _LIMITS.get(type(entry), ("", ""))
    return text.format(getattr(entry, attribute)) if text else ""


def _name(annotation: Any) -> str:
    """A type in the words of TOML."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _name(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{_toml(choice)}`" for choice in arguments)
    if origin is UnionType or str(origin) == "typing.Union":
        return _union([choice for choice in arguments if choice is not type(None)])
    if origin in (tuple, list):
        return f"list of {_name(arguments[0])}"
    if origin is dict:
        return f"table of {_name(arguments[1])}"
    words = {bool: "true or false", int: "integer", float: "number", str: "text", SecretStr: "text, masked"}
    return words.get(annotation, {"Path": "path"}.get(annotation.__name__, "network"))


def _union(choices: Sequence[Any]) -> str:
    return " or ".join(dict.fromkeys(map(_name, choices)))
