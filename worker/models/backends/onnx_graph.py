"""An ONNX classifier made self-contained: RGB pixels in, probabilities out, with the steps between in its graph.

So every file runs in one way, all of it in ONNX Runtime's threads, and nothing is normalised in Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np

from worker.models.backends.onnx_file import Signature
from worker.recipe import InputRecipe

Activation = Literal["none", "softmax", "sigmoid"]

PIXELS, SCORES = "image_worker_pixels", "image_worker_scores"
"""Names that no other program's export has."""
_OWN_INITIALISERS = 4
"""The first version of the format in which weights need not be inputs too."""


def self_contained(model: Any, signature: Signature, recipe: InputRecipe, activation: Activation) -> bytes:
    """The model's file with its preparation before it and its activation after it.

    It takes (N, H, W, 3) uint8 RGB and gives (N, L) float32.
    """
    from onnx import TensorProto, helper

    whole = type(model)()
    whole.CopyFrom(model)
    whole.ir_version = max(model.ir_version, _OWN_INITIALISERS)
    for field in ("node", "input", "output"):
        whole.graph.ClearField(field)
    whole.graph.node.extend([*_before(signature, recipe), *model.graph.node, *_after(signature, activation)])
    whole.graph.initializer.extend(_constants(signature, recipe))
    pixels, scores = ("batch", recipe.height, recipe.width, 3), ("batch", signature.labels or "labels")
    whole.graph.input.append(helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, pixels))
    whole.graph.output.append(helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, scores))
    data: bytes = whole.SerializeToString()
    return data


def _before(signature: Signature, recipe: InputRecipe) -> Iterator[Any]:
    """From pixels to what the model takes. What only moves bytes comes first, while they are bytes."""
    steps: list[tuple[str, list[str], dict[str, Any]]] = []
    if recipe.colour == "BGR":
        steps.append(("Gather", [_name("order")], {"axis": 3}))
    if signature.layout == "NCHW":
        steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
    if signature.element != "uint8":
        steps.append(("Cast", [], {"to": 1}))
        steps.append(("Mul", [_name("scale")], {}))
        steps.append(("Add", [_name("shift")], {}))
    if signature.element == "float16":
        steps.append(("Cast", [], {"to": 10}))
    yield from _chain(PIXELS, steps or [("Identity", [], {})], signature.input)


def _after(signature: Signature, activation: Activation) -> Iterator[Any]:
    """From the model's output to scores. In float32 before the activation: float16 has three digits."""
    steps: list[tuple[str, list[str], dict[str, Any]]] = [("Cast", [], {"to": 1})]
    if activation == "softmax":
        steps.append(("Softmax", [], {"axis": 1}))
    if activation == "sigmoid":
        steps.append(("Sigmoid", [], {}))
    yield from _chain(signature.output, steps, SCORES)


def _chain(first: str, steps: list[tuple[str, list[str], dict[str, Any]]], last: str) -> Iterator[Any]:
    from onnx import helper

    for number, (operator, constants, attributes) in enumerate(steps):
        output = last if number == len(steps) - 1 else _name(f"{operator}_of_{first}")
        yield helper.make_node(operator, [first, *constants], [output], **attributes)
        first = output


def _constants(signature: Signature, recipe: InputRecipe) -> Iterable[Any]:
    from onnx import numpy_helper

    channels = (1, 3, 1, 1) if signature.layout == "NCHW" else (1, 1, 1, 3)
    values: dict[str, np.ndarray[Any, Any]] = {
        "order": np.array([2, 1, 0], np.int64),
        "scale": np.array(recipe.scale, np.float32).reshape(channels),
        "shift": np.array(recipe.shift, np.float32).reshape(channels),
    }
    return [numpy_helper.from_array(value, _name(name)) for name, value in values.items()]


def _name(what: str) -> str:
    return f"image_worker/{what}"
