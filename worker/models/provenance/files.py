"""Where a model comes from, pinned to a revision, and the fingerprint of what runs."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from worker.errors import ConfigurationError, Fatal
from worker.models.lines import first_line
from worker.models.settings import DEMO
from worker.recipe import InputRecipe

HUB_SOURCE = re.compile(r"(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>\S+))?")
REVISION = re.compile(r"[0-9a-f]{40}")

_WANTED = ["*.safetensors", "*.json", "*.txt"]
_BELOW = ["*/*"]
_HUB_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model's files on this machine."""

    directory: Path
    name: str
    revision: str
    """The hub's 40 hex digits; for a directory the 64 of its weights' sha256."""
    weights_sha256: str
    """Over the names and digests of all safetensors files."""
    config_sha256: str
    """Of config.json."""


def locate(source: str) -> ModelFiles:
    """The files of `demo`, of a directory, or of `owner/name@revision`, fetched where they are not here yet.

    Raises ConfigurationError where the source names no fixed model, Fatal where it cannot be fetched or used.
    """
    if source == DEMO:
        from worker.models.demo import demo_model

        return _files(demo_model(), "efficientnet-lite0", None)
    hub = HUB_SOURCE.fullmatch(source)
    if hub and REVISION.fullmatch(hub["revision"] or ""):
        return _files(_snapshot(hub["name"], hub["revision"]), hub["name"], hub["revision"])
    directory = Path(source).expanduser()
    if directory.is_dir():
        return _files(directory, directory.resolve().name, None)
    raise _unpinned(source, hub)


def fingerprint(files: ModelFiles, recipe: InputRecipe, runtime: str, precision: str) -> str:
    """64 hex digits that change with any byte of the weights or configuration, the recipe, runtime or precision.

    The device is left out: a group of pods with and without a GPU gives one outcome one identity.
    """
    parts = (files.weights_sha256, files.config_sha256, repr(sorted(asdict(recipe).items())), runtime, precision)
    return hashlib.sha256("\n".join(hashlib.sha256(part.encode()).hexdigest() for part in parts).encode()).hexdigest()


def _files(directory: Path, name: str, revision: str | None) -> ModelFiles:
    config, weights = directory / "config.json", sorted(directory.glob("*.safetensors"))
    if not config.is_file():
        raise ConfigurationError(f"model.source: {directory} has no config.json, so it is no transformers model")
    if not weights:
        raise Fatal(
            f"model {name} has no safetensors weights, and pickled ones are never loaded because they can run code:"
            " convert them with transformers' save_pretrained on a machine that may run them"
        )
    digest = hashlib.sha256("\n".join(f"{path.name} {_sha256(path)}" for path in weights).encode()).hexdigest()
    return ModelFiles(directory, name, revision or digest, digest, _sha256(config))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _snapshot(name: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_WANTED, ignore_patterns=_BELOW))
    except Exception as error:
        raise Fatal(
            f"model {name}@{revision} cannot be fetched ({first_line(error)}): check the name, the revision and"
            " HF_ENDPOINT, or give a directory in model.source"
        ) from error


def _unpinned(source: str, hub: re.Match[str] | None) -> ConfigurationError:
    if hub is None:
        return ConfigurationError(
            f"model.source: {source!r} is neither a directory here nor `owner/name@` with a revision's 40 hex digits"
        )
    name, wanted = hub["name"], hub["revision"] or "main"
    try:
        advice = f"write `{name}@{_resolved(name, wanted)}`, which is what {wanted!r} names now"
    except Exception as error:  # noqa: BLE001  (whatever the hub does, the answer is the same: pin it)
        advice = f"write `{name}@` and the 40 hex digits of a revision (the hub did not say which: {first_line(error)})"
    return ConfigurationError(
        f"model.source: {source!r} is no directory here, and as a model of the hub it is not pinned: {advice}"
    )


def _resolved(name: str, revision: str) -> str:
    from huggingface_hub import HfApi

    return str(HfApi().model_info(name, revision=revision, timeout=_HUB_TIMEOUT_S).sha)
