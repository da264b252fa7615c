"""A torch module as an ONNX file: one that takes pixels and gives scores, free of where and how it was made."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from worker.errors import Fatal
from worker.models.backends.onnx_file import require_extra
from worker.models.lines import first_line
from worker.recipe import InputRecipe

PIXELS, SCORES = "pixels", "scores"

_LARGEST_BYTES = 2**31 - 2**20
"""An ONNX file is one protobuf message, which has less than 2 GiB."""
_TRACED = 2
"""Images in the batch that is traced: of one, torch would think that there is never another."""


def graph_of(module: Any, recipe: InputRecipe) -> Any:
    """The `onnx.ModelProto` of a torch module that takes (N, H, W, 3) uint8 and gives (N, L) float32: a free batch.

    The same module gives the same bytes again. Raises ConfigurationError where the extra is missing, Fatal where the
    module is too large for one file or cannot be exported.
    """
    require_extra("an export", "onnx", "onnxscript", "onnxruntime")
    import onnx

    size = sum(value.numel() * value.element_size() for value in module.state_dict().values())
    if size > _LARGEST_BYTES:
        raise Fatal(f"the model has {size / 1e9:.1f} GB of weights, and one ONNX file has room for less than 2")
    pixels = torch.zeros(_TRACED, recipe.height, recipe.width, 3, dtype=torch.uint8)
    try:
        with quiet(), torch.no_grad():
            program: Any = torch.onnx.export(
                module,
                (pixels,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=[PIXELS],
                output_names=[SCORES],
                external_data=False,
                verbose=False,
            )
        graph = _bare(program.model_proto)
        onnx.checker.check_model(graph, full_check=True)
    except Exception as error:
        raise Fatal(f"the model cannot be exported to ONNX: {first_line(error)}") from error
    return graph


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing of what exporters and quantisers print and warn of: what matters of it is checked afterwards."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _bare(model: Any) -> Any:
    """The model without the traces of the code that it was made of, which name this machine's folders."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model
