"""What an ONNX file does not say of itself: a TOML file beside it, of the same name, says it.

labels = ["sfw", "nsfw"]
scores = "none"

[input]
height = 224
width = 224
resize = [256, 256]
resample = "bilinear"
colour = "BGR"
rescale = 1
mean = [104, 117, 123]

[licence]
id = "bsd-2-clause"
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from worker.errors import ConfigurationError
from worker.knobs import Section
from worker.models.backends.onnx_graph import Activation
from worker.models.lines import first_line
from worker.models.provenance.lock import Licence
from worker.recipe import Colour, InputRecipe

_RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}

Triple = tuple[float, float, float]
Edge = Annotated[int, Field(ge=1, le=8192)]


@dataclass(frozen=True, slots=True)
class Description:
    """What has to be known of a file besides its graph."""

    labels: tuple[str, ...]
    recipe: InputRecipe
    activation: Activation
    """What makes probabilities of the model's output."""
    licence: Licence


class _Input(Section):
    """Resize, centre crop, then `(pixel * rescale - mean) / std`."""

    height: Edge
    width: Edge
    shortest_edge: Edge | None = None
    resize: tuple[Edge, Edge] | None = None
    resample: Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"] = "bilinear"
    colour: Colour = "RGB"
    rescale: float = 1 / 255
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)

    @model_validator(mode="after")
    def _can_be_done(self) -> _Input:
        if self.shortest_edge and self.resize:
            raise ValueError("write shortest_edge or resize, not both")
        if 0.0 in self.std:
            raise ValueError("no std may be 0")
        return self

    def recipe(self) -> InputRecipe:
        size = (self.height, self.width)
        resize = self.resize or ((None, None) if self.shortest_edge else size)
        return InputRecipe(
            height=self.height,
            width=self.width,
            resize_height=resize[0],
            resize_width=resize[1],
            shortest_edge=self.shortest_edge,
            resample=_RESAMPLE[self.resample],
            crop=resize != size,
            scale=_triple(self.rescale / std for std in self.std),
            shift=_triple(-mean / std for mean, std in zip(self.mean, self.std, strict=True)),
            colour=self.colour,
        )


class _Licence(Section):
    id: str
    name: str | None = None
    link: str | None = None


class _Document(Section):
    labels: tuple[str, ...] = ()
    scores: Activation
    input: _Input
    licence: _Licence | None = None


def read(onnx_file: Path) -> Description:
    """The description beside an ONNX file, its labels out of NAME.txt where it names none itself.

    Raises ConfigurationError where it is missing, wrong or incomplete.
    """
    path, names = onnx_file.with_suffix(".toml"), onnx_file.with_suffix(".txt")
    document = _document(path)
    labels = document.labels or _lines(names)
    if not all(label.strip() for label in labels):
        raise ConfigurationError(f"{path if document.labels else names}: a label has no text: write a name for each")
    licence = Licence(**document.licence.model_dump()) if document.licence else Licence()
    return Description(labels, document.input.recipe(), document.scores, licence)


def _document(path: Path) -> _Document:
    try:
        return _Document(**tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error.strerror}): an ONNX file does not say its labels nor how its input is"
            " made, so a file of this name beside it has to (docs/models.md has an example)"
        ) from error
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"])) or "it"
        raise ConfigurationError(f"{path}: {key}: {problem['msg'].removeprefix('Value error, ')}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error


def _lines(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read ({first_line(error)}): write the labels into it, one a line, or as `labels` into"
            f" {path.with_suffix('.toml').name}"
        ) from error


def _triple(values: Iterable[float]) -> Triple:
    first, second, third = values
    return first, second, third
