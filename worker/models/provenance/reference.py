"""transformers' own pipeline over the package's photographs, beside a classifier's scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from worker.models.classifier import Classifier
from worker.models.prepare import pixels
from worker.models.provenance.golden import PHOTOGRAPHS, photograph


@dataclass(frozen=True, slots=True)
class Beside:
    """One photograph: the pipeline's best label and score, ours, and the largest difference of any score."""

    photograph: str
    label: str
    reference: float
    ours: float
    difference: float


def beside(classifier: Classifier, directory: Path) -> Iterator[Beside]:
    """Each photograph through both. The pipeline reads the files in the directory anew, in fp32 on the CPU."""
    pipeline = _pipeline(directory)
    for name in PHOTOGRAPHS:
        image = photograph(name)
        with Image.open(BytesIO(image)) as opened:
            answers = pipeline(opened.convert("RGB"), top_k=None)
        found = classifier.predict(pixels(classifier.recipe, BytesIO(image)))[0].tolist()
        reference = _by_label((answer["label"], answer["score"]) for answer in answers)
        ours = _by_label(zip(classifier.labels, found, strict=True))
        best = max(reference, key=lambda label: reference[label][-1])
        difference = max(float(np.abs(np.subtract(reference[label], ours[label])).max()) for label in ours)
        yield Beside(name, best, reference[best][-1], ours[best][-1], difference)


def _by_label(scores: Any) -> dict[str, list[float]]:
    """The scores of each label, lowest first: the pipeline does not say which of two cranes is meant."""
    grouped: dict[str, list[float]] = defaultdict(list)
    for label, score in scores:
        grouped[label].append(float(score))
    return {label: sorted(values) for label, values in grouped.items()}


def _pipeline(directory: Path) -> Any:
    import transformers

    auto: Any = transformers.AutoImageProcessor
    processor = auto.from_pretrained(directory, backend="pil", local_files_only=True, trust_remote_code=False)
    model = transformers.AutoModelForImageClassification.from_pretrained(
        directory, use_safetensors=True, local_files_only=True, trust_remote_code=False
    )
    make: Any = transformers.pipeline
    return make("image-classification", model=model, image_processor=processor, device="cpu")
