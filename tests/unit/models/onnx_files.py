"""Small classifiers as other programs' ONNX files: the mean of each channel through a matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LABELS = ("cat", "dog", "owl", "elk")
WEIGHTS = np.random.default_rng(5).normal(size=(3, len(LABELS))).astype(np.float32)
SIZE = (6, 8)

DESCRIPTION = """
labels = ["cat", "dog", "owl", "elk"]
scores = "softmax"

[input]
height = 6
width = 8
"""


def model(
    *,
    layout: str = "NCHW",
    element: int = TensorProto.FLOAT,
    batch: int | str = "n",
    size: tuple[int | str, int | str] = SIZE,
    inside: tuple[Any, ...] = (),
    opset: int = 15,
    **changes: Any,
) -> onnx.ModelProto:
    """The model; `inside` are nodes between the product `raw` and the output `logits`."""
    shape = [batch, 3, *size] if layout == "NCHW" else [batch, *size, 3]
    axes = [2, 3] if layout == "NCHW" else [1, 2]
    float_type = TensorProto.FLOAT16 if element == TensorProto.FLOAT16 else TensorProto.FLOAT
    nodes = [
        helper.make_node("Cast", ["image"], ["numbers"], to=float_type),
        helper.make_node("ReduceMean", ["numbers"], ["means"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["raw"]),
        *(inside or (helper.make_node("Identity", ["raw"], ["logits"]),)),
    ]
    dtype = helper.tensor_dtype_to_np_dtype(float_type)
    graph = helper.make_graph(
        nodes,
        "means",
        changes.get("inputs", [helper.make_tensor_value_info("image", element, shape)]),
        changes.get("outputs", [helper.make_tensor_value_info("logits", float_type, [batch, len(LABELS)])]),
        [numpy_helper.from_array(WEIGHTS.astype(dtype), "weights"), *changes.get("constants", [])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=changes.get("ir", 8))


def save(folder: Path, made: onnx.ModelProto | None = None, description: str | None = DESCRIPTION) -> Path:
    """Writes model and description, and returns the ONNX file."""
    path = folder / "theirs.onnx"
    onnx.save(made or model(), path)
    if description is not None:
        path.with_suffix(".toml").write_text(description)
    return path


def expected(pixels: Any, *, colour: str = "RGB", scale: Any = 1 / 255, shift: Any = 0.0) -> Any:
    """What the logits are, by numpy in float64."""
    channels = pixels[..., ::-1] if colour == "BGR" else pixels
    return (channels * np.asarray(scale) + np.asarray(shift)).mean(axis=(1, 2)) @ WEIGHTS.astype(float)
