"""An ONNX file as it comes: read, checked, and what it takes and gives.

What is refused here would otherwise fail later with a line about a node, or give wrong scores without one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from worker.errors import ConfigurationError, Fatal
from worker.models.lines import first_line

Layout = Literal["NHWC", "NCHW"]

_CHANNELS = 3
_ELEMENTS = {1: "float32", 2: "uint8", 10: "float16"}
_OLDEST_OPSET = 7
"""The first whose arithmetic broadcasts, which preparing the pixels needs."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The one input and the one output of an image classifier."""

    input: str
    layout: Layout
    height: int | None
    """In pixels; None where the file takes any."""
    width: int | None
    element: str
    """Of the input's numbers: `float32`, `float16` or `uint8`."""
    output: str
    labels: int | None
    """How many scores an image has; None where the file does not say."""
    opset: int


def require_extra(what: str, *packages: str) -> None:
    """Raises ConfigurationError where one of the packages is not installed that `what` needs."""
    if missing := [package for package in packages if find_spec(package) is None]:
        raise ConfigurationError(
            f"{what} needs {', '.join(missing)}, which is not installed: run `pip install 'image-worker[onnx]'`"
        )


def content(path: Path, sha256: str) -> bytes:
    """The bytes of a file whose digest is known. Raises Fatal where it has others: it was changed since."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Fatal(f"the ONNX file {path} cannot be read: {error.strerror}") from error
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise Fatal(f"the ONNX file {path} has other bytes than it should: sha256 {found}, not {sha256}")
    return data


def parse(data: bytes, path: Path) -> Any:
    """The checked `onnx.ModelProto` in a file's bytes; `path` is named in errors.

    Raises Fatal where they are no ONNX model, or where weights lie in further files, which no digest covers;
    ConfigurationError where the extra is missing.
    """
    require_extra(f"the ONNX file {path}", "onnx", "onnxruntime")
    import onnx

    try:
        model = onnx.load_model_from_string(data)
        tensors = (tensor for part in (model.graph, *model.functions) for tensor in _tensors(part))
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors):
            raise ValueError("its weights are in further files: save it as one file, with all tensors in it")
        onnx.checker.check_model(data)
    except Exception as error:
        raise Fatal(f"the ONNX file {path} cannot be used: {first_line(error)}") from error
    return model


def signature(model: Any, path: Path) -> Signature:
    """What a model takes and gives. Raises Fatal where it is no classifier of images in batches of any size."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    try:
        if len(inputs) != 1 or len(model.graph.output) != 1:
            raise ValueError(_not_one("input", inputs) or _not_one("output", model.graph.output))
        batch, layout, height, width, element = _image(inputs[0])
        if batch is not None:
            raise ValueError(
                f"its batch is fixed to {batch}: export it anew with a free batch"
                " (torch.onnx.export with dynamic_shapes, or dynamic_axes in older releases)"
            )
        output = model.graph.output[0]
        return Signature(
            inputs[0].name, layout, height, width, element, output.name, _labels(output), _opset(model.opset_import)
        )
    except ValueError as error:
        raise Fatal(f"the ONNX file {path} cannot be used: {error}") from error


def _tensors(graph: Any) -> Iterator[Any]:
    """All constant tensors of a graph or function, those in nodes and in the graphs of nodes among them."""
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _not_one(what: str, values: Any) -> str:
    if len(values) == 1:
        return ""
    names = ", ".join(value.name for value in values) or "none"
    return f"it has {len(values)} {what}s ({names}), and an image classifier has one {what}"


def _sizes(value: Any) -> list[int | None]:
    """A value's sizes, None where one is free, which some programs write as 0 or -1."""
    return [dim.dim_value if dim.dim_value > 0 else None for dim in value.type.tensor_type.shape.dim]


def _image(value: Any) -> tuple[int | None, Layout, int | None, int | None, str]:
    """Batch, layout, height, width and element of an input."""
    sizes = _sizes(value)
    if len(sizes) != 4 or _CHANNELS not in (sizes[1], sizes[3]):
        raise ValueError(
            f"its input {value.name} has the shape {_shown(value)}, and images have"
            f" (N, {_CHANNELS}, H, W) or (N, H, W, {_CHANNELS})"
        )
    element = _ELEMENTS.get(value.type.tensor_type.elem_type)
    if element is None:
        raise ValueError(f"its input {value.name} takes neither {' nor '.join(_ELEMENTS.values())}")
    if sizes[1] == _CHANNELS:
        return sizes[0], "NCHW", sizes[2], sizes[3], element
    return sizes[0], "NHWC", sizes[1], sizes[2], element


def _labels(output: Any) -> int | None:
    if not output.type.tensor_type.HasField("shape"):
        return None
    sizes = _sizes(output)
    if len(sizes) != 2:
        raise ValueError(f"its output {output.name} has the shape {_shown(output)}, and scores have (N, labels)")
    return sizes[1]


def _opset(imports: Any) -> int:
    version = next((int(each.version) for each in imports if each.domain in ("", "ai.onnx")), 0)
    if version < _OLDEST_OPSET:
        raise ValueError(f"its operators are of version {version}, and {_OLDEST_OPSET} is the oldest that is run")
    return version


def _shown(value: Any) -> str:
    dims = value.type.tensor_type.shape.dim
    named = [str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?" for dim in dims]
    return f"({', '.join(named)})"
