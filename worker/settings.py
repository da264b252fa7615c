"""All settings: composed of the wings' sections, resolved from file, environment and flags, each with its source.

A flag wins over the environment, which wins over the file, which wins over the default.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from worker.errors import ConfigurationError
from worker.images.settings import ImagesSettings
from worker.kafka.settings import EventsSettings, KafkaSettings
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
    for origin, values in _sources(file, flags, os.environ if environment is None else environment):
        for path, value in _leaves(values):
            _put(merged, path, value)
            origins[path] = _environment_name(path) if origin == "environment" else origin
    try:
        return Resolved(Settings(**merged), origins)
    except ValidationError as error:
        lines = [_explain(problem, origins) for problem in error.errors()]
        raise ConfigurationError("\n".join(lines)) from error


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
        raise ConfigurationError(f"environment: {error}: tables and lists are written as JSON") from error


def _read_flag(flag: str) -> dict[str, Any]:
    key, equals, value = flag.partition("=")
    if not equals:
        raise ConfigurationError(f"--set {flag}: write section.key=value")
    for text in (value, _quoted(value)):
        try:
            return tomllib.loads(f"{key} = {text}")
        except tomllib.TOMLDecodeError as error:
            problem = error
    raise ConfigurationError(f"--set {flag}: {problem}") from problem


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _leaves(values: Mapping[str, Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _put(tree: dict[str, Any], path: KeyPath, value: Any) -> None:
    for key in path[:-1]:
        below = tree.get(key)
        tree = below if isinstance(below, dict) else tree.setdefault(key, {})
    tree[path[-1]] = value


def _environment_name(path: KeyPath) -> str:
    """The variable of a key. What is deeper than the fields, in a table, is written as the field's JSON."""
    depth = next((depth for depth in range(1, len(path)) if section_at(path[:depth]) is None), len(path))
    return f"environment {PREFIX}{'__'.join(path[:depth]).upper()}"


def _explain(problem: Any, origins: Origins) -> str:
    """One line: the key, where it came from, what is wrong, what to write."""
    path = tuple(str(part) for part in problem["loc"])
    origin = next((origins[p] for p in origins if p[: len(path)] == path or path[: len(p)] == p), "default")
    section = section_at(path[:-1])
    if problem["type"] == "extra_forbidden":
        known = section.model_fields if section is not None else {}
        wrong = f"there is no such key{_suggest(path[-1], known)}"
        return f"{'.'.join(path)} (from {origin}): {wrong}"
    field = section.model_fields.get(path[-1]) if section is not None else None
    hint = f" ({field.description})" if field is not None and field.description else ""
    return f"{'.'.join(path)} (from {origin}): {problem['msg'].removeprefix('Value error, ')}{hint}"


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
