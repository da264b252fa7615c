"""What an export says of itself, in the metadata of its file: labels, recipe, and which model it was made of."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from worker.errors import Fatal
from worker.models.provenance.lock import Licence
from worker.recipe import InputRecipe

_PREFIX = "image_worker."
_FORMAT = "1"


@dataclass(frozen=True, slots=True)
class Stamp:
    """All that is needed to run an export, and to know where it came from."""

    name: str
    """Of the model that it was made of; so are revision, fingerprint and licence."""
    revision: str
    fingerprint: str
    licence: Licence
    labels: tuple[str, ...]
    recipe: InputRecipe
    """The decoder's part: scale, shift and the activation are in the graph."""
    precision: str
    made_by: str


_STAMP = TypeAdapter(Stamp)


def write(model: Any, stamp: Stamp) -> None:
    """Puts the stamp in the place of all metadata that the model has."""
    from onnx import helper

    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in asdict(stamp).items()}
    helper.set_model_props(model, {f"{_PREFIX}{key}": text for key, text in {"format": _FORMAT, **texts}.items()})


def read(model: Any, path: Path) -> Stamp | None:
    """The stamp of an export, None where another program made the file. Raises Fatal where it is damaged."""
    found = {entry.key.removeprefix(_PREFIX): entry.value for entry in model.metadata_props}
    if f"{_PREFIX}format" not in {entry.key for entry in model.metadata_props}:
        return None
    if (version := found.pop("format")) != _FORMAT:
        raise Fatal(f"the export {path} has format {version}, this release reads {_FORMAT}: export the model anew")
    try:
        return _STAMP.validate_python({key: json.loads(text) for key, text in found.items()})
    except (ValidationError, ValueError) as error:
        raise Fatal(f"the export {path} does not say what it is: its metadata is damaged: export anew") from error
