"""Dynamic quantisation of an export to int8.

Only matrix products are quantised. Convolutions could be too, but ONNX Runtime has no fast kernel for them: the demo's
EfficientNet was seen to become four times slower, and to give another label to 13 % of the photographs. So a
convolution net gains little from int8, and a transformer about a factor of two.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from worker.errors import Fatal
from worker.models.backends.onnx_export import quiet
from worker.models.lines import first_line

_QUANTISED = ["MatMul", "Gemm"]


def int8_of(path: Path) -> Any:
    """The `onnx.ModelProto` of an fp32 export in int8, weights by channel, activations by the range of each batch.

    Raises Fatal where it cannot be quantised, or has nothing to quantise.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, quiet():
        made = Path(folder) / "int8.onnx"
        try:
            quantize_dynamic(path, made, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=_QUANTISED)
            graph = onnx.load(made)
            onnx.checker.check_model(graph)
        except Exception as error:
            raise Fatal(f"the export {path} cannot be quantised: {first_line(error)}") from error
    if not any(node.op_type == "DynamicQuantizeLinear" for node in graph.graph.node):
        raise Fatal(f"the export {path} has no matrix product, and nothing else is quantised: use it in fp32")
    return graph
