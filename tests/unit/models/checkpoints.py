"""Small models with random weights, saved as transformers saves them, with their own default processors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil
from transformers.models.levit.image_processing_pil_levit import LevitImageProcessorPil
from transformers.models.mobilenet_v2.image_processing_pil_mobilenet_v2 import MobileNetV2ImageProcessorPil
from transformers.models.mobilevit.image_processing_pil_mobilevit import MobileViTImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

LABELS = {0: "cat", 1: "dog", 2: "owl", 3: "elk", 4: "bee"}
_TRANSFORMER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "patch_size": 32,
    "initializer_range": 0.2,
}
_TOWERS = {f"{part}_config": {k: _TRANSFORMER[k] for k in list(_TRANSFORMER)[:4]} for part in ("text", "vision")}
_EFFICIENT = {"width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 128}


def _convnext(size: int) -> ConvNextImageProcessorPil:
    return ConvNextImageProcessorPil(size={"shortest_edge": size})


FAMILIES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "vit": ("ViT", _TRANSFORMER, ViTImageProcessorPil()),
    "deit": ("DeiT", _TRANSFORMER, DeiTImageProcessorPil()),
    "efficientnet": ("EfficientNet", _EFFICIENT, EfficientNetImageProcessorPil()),
    "efficientnet-offset": (
        "EfficientNet",
        _EFFICIENT,
        EfficientNetImageProcessorPil(rescale_factor=1 / 127.5, rescale_offset=True),
    ),
    "mobilenet_v2": ("MobileNetV2", {"depth_multiplier": 0.35}, MobileNetV2ImageProcessorPil()),
    "convnext": ("ConvNext", {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}, _convnext(224)),
    "convnext-384": ("ConvNext", {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}, _convnext(384)),
    "resnet": (
        "ResNet",
        {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
        _convnext(224),
    ),
    "mobilevit": (
        "MobileViT",
        {"hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 16, 16, 24, 24, 32, 64]},
        MobileViTImageProcessorPil(),
    ),
    "levit": (
        "Levit",
        {"hidden_sizes": [32, 48, 64], "depths": [1, 1, 1], "key_dim": [8, 8, 8], "num_attention_heads": [2, 2, 2]},
        LevitImageProcessorPil(),
    ),
    "clip-classifier": ("CLIP", _TOWERS, CLIPImageProcessorPil()),
    "siglip-classifier": ("Siglip", _TOWERS, SiglipImageProcessorPil(size={"height": 224, "width": 224})),
}


def save(family: str, directory: Path, **config: Any) -> Path:
    """Writes a model of the family and its processor into the directory, and returns it."""
    name, sizes, processor = FAMILIES[family]
    torch.manual_seed(7)
    settings = getattr(transformers, f"{name}Config")(**{"id2label": LABELS, **sizes, **config})
    model = getattr(transformers, f"{name}ForImageClassification")(settings)
    _tell_images_apart(model, processor(images(8), return_tensors="pt"))
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


@torch.no_grad()
def _tell_images_apart(model: Any, inputs: Any) -> None:
    """Untrained, a deep model gives every image the same scores, and any comparison would hold.

    One pass in training mode sets the statistics of the batch norms; then the head is scaled to logits that vary by 1.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.reset_parameters()
            module.momentum = 1.0
    model.train()(**inputs)
    head = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    head.weight.div_(model.eval()(**inputs).logits.std(dim=0).mean())


def images(count: int) -> list[Image.Image]:
    """Coloured blots of varied sizes, portrait and landscape, some smaller than a model's input."""
    random = np.random.default_rng(11)
    made = []
    for _ in range(count):
        blots = random.integers(0, 256, (*random.integers(2, 9, 2), 3), np.uint8)
        width, height = random.integers(80, 700, 2).tolist()
        made.append(Image.fromarray(blots).resize((width, height), Image.Resampling.BICUBIC))
    return made
