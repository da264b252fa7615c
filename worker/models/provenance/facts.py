"""What a model's files state of it: its licence, what it was made of, its architecture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from worker.models.provenance import card, whole
from worker.models.provenance.files import ModelFiles
from worker.models.provenance.lock import Licence

_ONNX_ARCHITECTURE = "ONNX"


@dataclass(frozen=True, slots=True)
class Facts:
    """The files' word for it."""

    licence: Licence
    base_models: tuple[str, ...]
    architecture: str


def facts_of(files: ModelFiles) -> Facts:
    """Out of the card and config.json, or of an ONNX file's stamp or description.

    Raises Fatal and ConfigurationError where they cannot be read.
    """
    if files.onnx is not None:
        return Facts(_licence(files, files.onnx), (), _ONNX_ARCHITECTURE)
    licence, base_models = card.read(files.directory)
    return Facts(licence, base_models, whole.architecture(whole.config_of(files)))


def _licence(files: ModelFiles, path: Path) -> Licence:
    from worker.models.backends import onnx_description, onnx_file, onnx_stamp

    stamp = onnx_stamp.read(onnx_file.parse(onnx_file.content(path, files.files[0].sha256), path), path)
    return stamp.licence if stamp else onnx_description.read(path).licence
