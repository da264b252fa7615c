"""An ONNX file read whole: its graph made self-contained, its labels and recipe, and what its bytes are known by."""

from __future__ import annotations
