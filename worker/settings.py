"""All settings: composed of the wings' sections, resolved from file, environment and flags, each with its source.

A flag wins over the environment, which wins over the file, which wins over the default.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from worker.errors import ConfigurationError
from worker.images.settings import ImagesSettings
from worker.kafka.settings import EventsSettings, KafkaSettings, Properties
from worker.models.settings import BatchSettings, ModelSettings
from worker.observe.settings import ObserveSettings
from worker.policy import PolicySettings

PREFIX = "IMAGE_WORKER_"
KeyPath = tuple[str, ...]
Origins = Mapping[KeyPath, str]


class Settings(BaseSettings):
    """Every knob of the worker, by section."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix=PREFIX, env_nested_delimiter="__")

    kafka: KafkaSettings = KafkaSettings()
    events: EventsSettings = EventsSettings()
    images: ImagesSettings = ImagesSettings()
    model: ModelSettings = ModelSettings()
    batch: BatchSettings = BatchSettings()
    policy: PolicySettings = PolicySettings()
    observe: ObserveSettings = ObserveSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # `resolve` reads the sources one by one, to know where each value came from; nothing is read behind its back.
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings, and where each value that is not a default came from."""

    settings: Settings
    origins: Origins


def resolve(
    file: Path | None = None, flags: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Resolved:
    """Resolve the settings. `flags` are `section.key=value`, the value in TOML or plain text.

    Raises ConfigurationError with one line for each wrong key: what, where it came from, what to write.
    """
    merged: dict[str, Any] = {}
    origins: dict[KeyPath, str] = {}
    for source, values in _sources(file, flags, os.environ if environment is None else environment):
        for path, value in _leaves(values):
            origin = _environment_name(path) if source == "environment" else source
            _check_section(path, value, origin)
            _put(merged, path, value)
            origins[path] = origin
    try:
        return Resolved(Settings(**merged), origins)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_explain(error, merged, origins))) from error


def _sources(
    file: Path | None, flags: Sequence[str], environment: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sources from weakest to strongest, each with its name."""
    if file is not None:
        yield str(file), _read_file(file)
    yield "environment", _read_environment(environment)
    for flag in flags:
        # Without its value, which may be a secret.
        yield f"flag --set {flag.partition('=')[0]}", _read_flag(flag)


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"--config {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--config {file} is not TOML: {error}") from error


class _Environment(EnvSettingsSource):
    """pydantic-settings' reader of the environment, over variables that are passed in."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = {name.lower(): value for name, value in variables.items()}
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._variables


def _read_environment(variables: Mapping[str, str]) -> dict[str, Any]:
    for name in variables:
        section = name.upper().removeprefix(PREFIX).partition("__")[0].lower()
        if name.upper().startswith(PREFIX) and section not in Settings.model_fields:
            raise ConfigurationError(
                f"environment {name}: there is no section {section!r}{_suggest(section, Settings.model_fields)}; "
                f"write {PREFIX}SECTION__KEY"
            )
    try:
        return _Environment(variables)()
    except SettingsError as error:
        name = next((name for name in variables if not _is_readable(name, variables[name])), "")
        raise ConfigurationError(
            f'environment {name}: not JSON: tables and lists are written as JSON, such as {{"a": 1}} and ["a", "b"]'
        ) from error


def _is_readable(name: str, value: str) -> bool:
    try:
        _Environment({name: value})()
    except SettingsError:
        return False
    return True


def _read_flag(flag: str) -> dict[str, Any]:
    # No message repeats the value, which may be a secret.
    key, equals, value = flag.partition("=")
    if not equals:
        raise ConfigurationError(f"--set {key}: write section.key=value")
    for text in (value, json.dumps(value, ensure_ascii=False)):
        try:
            return tomllib.loads(f"{key} = {text}")
        except tomllib.TOMLDecodeError as error:
            problem = error
    raise ConfigurationError(f"--set {key}: {problem}: write section.key=value, the key as in TOML") from problem


def _leaves(values: Mapping[str, Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield _undotted((*path, key)), value


def _undotted(path: KeyPath) -> KeyPath:
    """The dots in the name of a librdkafka property are no levels: `sasl.password`, quoted or not, is one key."""
    field = _field(path[:2])
    is_table = field is not None and field.annotation == Properties
    return (*path[:2], ".".join(path[2:])) if is_table and len(path) > 2 else path


def _check_section(path: KeyPath, value: Any, origin: str) -> None:
    if section_at(path) is not None and not isinstance(value, Mapping):
        name = ".".join(path)
        raise ConfigurationError(f"{name} (from {origin}): this is a section: write {name}.KEY")


def _put(tree: dict[str, Any], path: KeyPath, value: Any) -> None:
    for key in path[:-1]:
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        tree = tree[key]
    if section_at(path) is None:
        tree[path[-1]] = value


def _environment_name(path: KeyPath) -> str:
    """The variable of a key. What is deeper than the fields, in a table, is written as the field's JSON."""
    depth = next((depth for depth in range(1, len(path)) if section_at(path[:depth]) is None), len(path))
    return f"environment {PREFIX}{'__'.join(path[:depth]).upper()}"


def _explain(error: ValidationError, merged: Mapping[str, Any], origins: Origins) -> Iterator[str]:
    """One line for each wrong key: the key, where it came from, what is wrong, what to write."""
    problems: dict[KeyPath, list[Any]] = {}
    for problem in error.errors():
        problems.setdefault(_path_in(merged, problem["loc"]), []).append(problem)
    for path, found in problems.items():
        origin = next((origins[p] for p in origins if p[: len(path)] == path or path[: len(p)] == p), "default")
        yield f"{'.'.join(path)} (from {origin}): {_what_is_wrong(path, found)}"


def _path_in(merged: Mapping[str, Any], location: Sequence[str | int]) -> KeyPath:
    """The part of pydantic's location that was written by somebody: below it are the branches of a union."""
    path: list[str] = []
    value: Any = merged
    for part in location:
        try:
            value = value[part]
        except (LookupError, TypeError):
            break
        path.append(str(part))
    return tuple(path)


def _what_is_wrong(path: KeyPath, problems: Sequence[Any]) -> str:
    if problems[0]["type"] == "extra_forbidden":
        section = section_at(path[:-1])
        return f"there is no such key{_suggest(path[-1], section.model_fields if section else {})}"
    field = _field(path)
    hint = f" ({field.description})" if field is not None and field.description else ""
    return ", or ".join(problem["msg"].removeprefix("Value error, ") for problem in problems) + hint


def _field(path: KeyPath) -> FieldInfo | None:
    """The field of the settings that a path names, or lies in."""
    for depth, key in enumerate(path):
        section = section_at(path[:depth])
        if section is None or section_at(path[: depth + 1]) is None:
            return section.model_fields.get(key) if section is not None else None
    return None


def section_at(path: KeyPath) -> type[BaseModel] | None:
    """The section of the settings at a path; None where there is no section there."""
    section: type[BaseModel] = Settings
    for key in path:
        field = section.model_fields.get(key)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return None
        section = field.annotation
    return section


def _suggest(key: str, known: Mapping[str, Any]) -> str:
    stem = key.rsplit("_", 1)[0]
    close = get_close_matches(key, known, n=1, cutoff=0.6) or [name for name in known if name.startswith(stem)][:1]
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(sorted(known))}"
