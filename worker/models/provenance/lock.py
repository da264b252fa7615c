"""A model, known to the byte: the value, and the TOML file that is reviewed and committed."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from worker.errors import ConfigurationError, Fatal
from worker.models.provenance import lock_toml
from worker.printable import printable
from worker.recipe import InputRecipe

FORMAT = 1
UNKNOWN = "unknown"

_ANEW = "remove it and lock the model anew"
_TOP = 5
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class LockedFile:
    """A file of the model's directory."""

    name: str
    size: int
    """In bytes."""
    sha256: str


@dataclass(frozen=True, slots=True)
class Licence:
    """What the model's card states of its licence. It is the card's word, not a lawyer's."""

    id: str = UNKNOWN
    """As the hub's cards write it (`apache-2.0`, `other`, ...); `unknown` where the card says nothing."""
    name: str | None = None
    link: str | None = None

    def __str__(self) -> str:
        """On one line, whatever a stranger wrote."""
        return printable(", ".join(filter(None, (self.id, self.name, self.link))))


@dataclass(frozen=True, slots=True)
class Golden:
    """The scores of one of the package's own photographs, in fp32."""

    photograph: str
    sha256: str
    """Of the photograph's file."""
    scores: tuple[float, ...]
    """One for each label, in their order, with six significant digits."""


@dataclass(frozen=True, slots=True)
class Export:
    """A file that was made of this model, such as an ONNX file."""

    file: str
    """Its path, relative to the lock file."""
    size: int
    sha256: str
    precision: str
    facts: dict[str, float] = field(default_factory=dict)
    """What was measured when it was made, by name."""


@dataclass(frozen=True, slots=True)
class Lock:
    """All that must be the same for the model to be the one that was tested."""

    source: str
    """What `model.source` takes: `owner/name@` with 40 hex digits, a directory, or `demo`."""
    name: str
    revision: str
    architecture: str
    base_models: tuple[str, ...]
    """What the card says that it was made of."""
    licence: Licence
    recipe: InputRecipe
    labels: tuple[str, ...]
    versions: dict[str, str]
    """Of the libraries that gave the golden outputs."""
    files: tuple[LockedFile, ...]
    golden: tuple[Golden, ...]
    exports: tuple[Export, ...] = ()

    def top(self, golden: Golden) -> list[tuple[str, float]]:
        """The best labels of a photograph with their scores, best first."""
        ranked = sorted(range(len(golden.scores)), key=lambda index: (-golden.scores[index], index))
        return [(self.labels[index], golden.scores[index]) for index in ranked[:_TOP]]


_LOCK = TypeAdapter(Lock)


def significant(scores: Iterable[float]) -> tuple[float, ...]:
    """Scores as a lock keeps them."""
    return tuple(float(f"{score:.{_DIGITS}g}") for score in scores)


def read(path: Path) -> Lock:
    """The lock in a file. Raises ConfigurationError where there is none, or where it is not what `write` writes."""
    try:
        return parse(path.read_text("utf-8"), str(path))
    except OSError as error:
        raise ConfigurationError(f"the lock {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"the lock {path} is not text: {error}") from error


def parse(text: str, where: str) -> Lock:
    """The lock that a text states; `where` names it in errors. Raises ConfigurationError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the lock {where} is not TOML: {error}") from error
    if document.get("format") != FORMAT:
        found = printable(repr(document.get("format")))
        raise ConfigurationError(f"the lock {where} has format {found}, this release reads {FORMAT}: {_ANEW}")
    lock = _lock(document, where)
    # What a reviewer sees and what is compared are the same only if nothing in the file is left unread.
    if (key := _differing(_document(lock), document)) is not None:
        raise ConfigurationError(f"the lock {where} was edited: {key} does not fit the rest: {_ANEW}")
    return lock


def as_toml(lock: Lock) -> str:
    """The text of the lock, in the order that a reviewer reads."""
    return lock_toml.text(_document(lock))


def write(lock: Lock, path: Path) -> None:
    """Writes the lock: all of it or nothing. Raises Fatal where it cannot be written, or not be read again."""
    text, fresh = as_toml(lock), path.with_name(f".{path.name}.new")
    if parse(text, str(path)) != lock:
        raise Fatal(f"the lock {path} cannot be written: TOML cannot say all that is in it")
    try:
        fresh.write_text(text, "utf-8")
        fresh.replace(path)
    except OSError as error:
        raise Fatal(f"the lock {path} cannot be written: {error.strerror}") from error


def _document(lock: Lock) -> dict[str, Any]:
    """The lock as nested plain values, without what is None."""
    values = asdict(lock)
    shown = [
        {
            "photograph": golden.photograph,
            "sha256": golden.sha256,
            "top": [{"label": label, "score": score} for label, score in lock.top(golden)],
        }
        for golden in lock.golden
    ]
    order = ("source", "name", "revision", "architecture", "base_models", "licence", "recipe")
    document = {
        "format": FORMAT,
        **{key: values[key] for key in order},
        "labels": {"names": lock.labels},
        "versions": lock.versions,
        "files": values["files"],
        "exports": values["exports"] or None,
        "golden": shown,
        "scores": {golden.photograph: golden.scores for golden in lock.golden},
    }
    plain: dict[str, Any] = _plain(document)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def _lock(document: Mapping[str, Any], where: str) -> Lock:
    try:
        scores = document["scores"]
        goldens = [{**golden, "scores": scores[golden["photograph"]]} for golden in document["golden"]]
        recipe = dict.fromkeys(InputRecipe.__dataclass_fields__) | document["recipe"]
        values = {**document, "labels": document["labels"]["names"], "golden": goldens, "recipe": recipe}
        lock = _LOCK.validate_python(values)
    except ValidationError as error:
        problem = error.errors()[0]
        key = printable(".".join(map(str, problem["loc"])))
        raise ConfigurationError(f"the lock {where} is incomplete or wrong: {key}: {problem['msg']}") from error
    except (KeyError, TypeError) as error:
        raise ConfigurationError(f"the lock {where} is incomplete or wrong: {printable(str(error))}") from error
    if any(len(golden.scores) != len(lock.labels) for golden in lock.golden):
        raise ConfigurationError(f"the lock {where} is wrong: it has not one score for each of its labels")
    return lock


def _differing(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """A key that stands in one of the two only, or with another value."""
    return next((key for key in [*found, *expected] if found.get(key) != expected.get(key)), None)
