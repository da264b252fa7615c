"""Where a model comes from, pinned to a revision, and the fingerprint of what runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from worker.errors import ConfigurationError, Fatal
from worker.models.lines import first_line
from worker.models.provenance import hub
from worker.models.provenance.lock import LockedFile
from worker.models.settings import DEMO
from worker.recipe import InputRecipe

HUB_SOURCE = re.compile(r"(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>\S+))?")
REVISION = re.compile(r"[0-9a-f]{40}")
ONNX = ".onnx"

_WEIGHTS = (".safetensors", ONNX)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model's files on this machine."""

    directory: Path
    name: str
    revision: str
    """The hub's 40 hex digits; for a directory the 64 of its weights' sha256."""
    files: tuple[LockedFile, ...]
    """All that may be read of the directory, by name."""

    @property
    def onnx(self) -> Path | None:
        """The model's one ONNX file; None where it is transformers' directory."""
        return next((self.directory / file.name for file in self.files if file.name.endswith(ONNX)), None)

    @property
    def weights_sha256(self) -> str:
        """Over the names and digests of all files with weights."""
        return _over(file for file in self.files if file.name.endswith(_WEIGHTS))

    @property
    def config_sha256(self) -> str:
        """Of config.json; for an ONNX file over the names and digests of what describes it."""
        config = (file.sha256 for file in self.files if file.name == "config.json")
        return next(config, "") or _over(file for file in self.files if not file.name.endswith(_WEIGHTS))


def locate(source: str) -> ModelFiles:
    """The files of `demo`, a directory, an ONNX file, or `owner/name@revision`, fetched where they are not here yet.

    They are hashed, and not read in any other way. Raises ConfigurationError where the source names no fixed model,
    Fatal where it cannot be fetched or used.
    """
    if source == DEMO:
        from worker.models.demo import demo_model

        return _files(demo_model(), "efficientnet-lite0", None)
    name, revision = _hub_name(source)
    if name is not None and is_pinned(source):
        return _files(hub.snapshot(name, revision), name, revision)
    path = Path(source).expanduser()
    if path.is_dir():
        return _files(path, path.resolve().name, None)
    if path.suffix == ONNX and path.is_file():
        return _of_onnx(path)
    raise _unpinned(source, name, revision)


def pinned(source: str) -> str:
    """The source with what a branch or tag of the hub names now. Raises Fatal where the hub does not say."""
    name, revision = _hub_name(source)
    if name is None or is_pinned(source) or source == DEMO or Path(source).expanduser().exists():
        return source
    return f"{name}@{hub.resolved(name, revision or 'main')}"


def is_pinned(source: str) -> bool:
    """Whether a source names a model of the hub at a fixed revision."""
    return REVISION.fullmatch(_hub_name(source)[1]) is not None


def _hub_name(source: str) -> tuple[str | None, str]:
    """Name and revision of a source that is written as one of the hub's, as a directory may be. Both may be missing."""
    found = HUB_SOURCE.fullmatch(source)
    return (found["name"], found["revision"] or "") if found else (None, "")


def fingerprint(files: ModelFiles, recipe: InputRecipe, runtime: str, precision: str) -> str:
    """64 hex digits that change with any byte of the weights or configuration, the recipe, runtime or precision.

    The device is left out: a group of pods with and without a GPU gives one outcome one identity.
    """
    parts = (files.weights_sha256, files.config_sha256, repr(sorted(asdict(recipe).items())), runtime, precision)
    return hashlib.sha256("\n".join(hashlib.sha256(part.encode()).hexdigest() for part in parts).encode()).hexdigest()


def hashed(path: Path) -> LockedFile:
    """A file's name, size and sha256, read piece by piece."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return LockedFile(path.name, file.tell(), digest)


def of_export(path: Path, name: str, revision: str) -> ModelFiles:
    """The one file of an export, known by the model that it was made of. Raises Fatal where it cannot be read."""
    return _hashed(path.parent, name, revision, [path])


def _of_onnx(path: Path) -> ModelFiles:
    """An ONNX file, and NAME.toml and NAME.txt beside it, which may describe it. It is known by its own bytes."""
    beside = (path.with_suffix(".toml"), path.with_suffix(".txt"))
    return _hashed(path.parent, path.stem, None, [path, *(file for file in beside if file.is_file())])


def _files(directory: Path, name: str, revision: str | None) -> ModelFiles:
    paths = [path for path in sorted(directory.iterdir()) if _is_wanted(path.name) and path.is_file()]
    if not (directory / "config.json").is_file():
        raise ConfigurationError(f"model.source: {directory} has no config.json, so it is no transformers model")
    if not any(path.suffix == ".safetensors" for path in paths):
        raise Fatal(
            f"model {name} has no safetensors weights, and pickled ones are never loaded because they can run code:"
            " convert them with transformers' save_pretrained on a machine that may run them"
        )
    return _hashed(directory, name, revision, paths)


def _hashed(directory: Path, name: str, revision: str | None, paths: Iterable[Path]) -> ModelFiles:
    try:
        files = ModelFiles(directory, name, revision or "", tuple(map(hashed, paths)))
    except OSError as error:
        raise Fatal(f"model {name}: {error.filename} cannot be read: {error.strerror}") from error
    return files if revision else replace(files, revision=files.weights_sha256)


def _is_wanted(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in hub.WANTED)


def _over(files: Iterable[LockedFile]) -> str:
    return hashlib.sha256("\n".join(f"{file.name} {file.sha256}" for file in files).encode()).hexdigest()


def _unpinned(source: str, name: str | None, revision: str) -> ConfigurationError:
    if name is None:
        return ConfigurationError(
            f"model.source: {source!r} is neither a directory nor an ONNX file here, nor `owner/name@` with a"
            " revision's 40 hex digits"
        )
    wanted = revision or "main"
    try:
        advice = f"write `{name}@{hub.resolved(name, wanted)}`, which is what {wanted!r} names now"
    except Fatal as error:
        advice = f"write `{name}@` and the 40 hex digits of a revision ({first_line(error)})"
    return ConfigurationError(
        f"model.source: {source!r} is no directory here, and as a model of the hub it is not pinned: {advice}"
    )
