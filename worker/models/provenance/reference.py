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
from worker.models.provenance import whole
from worker.models.provenance.files import ModelFiles
from worker.models.provenance.golden import PHOTOGRAPHS, TEMPLATE, comparable, photograph

_AS_WE_DO: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


@dataclass(frozen=True, slots=True)
class Beside:
    """One photograph: the pipeline's best label and score, ours, and the largest difference of any score."""

    photograph: str
    label: str
    reference: float
    ours: float
    difference: float


def beside(classifier: Classifier, files: ModelFiles) -> Iterator[Beside]:
    """Each photograph through both. The pipeline reads the model's files anew, in fp32 on the CPU."""
    classifier = comparable(classifier)
    if whole.is_zero_shot(files):
        pipeline = _zero_shot_pipeline(files.directory)
        options: dict[str, Any] = {"candidate_labels": list(classifier.labels), "hypothesis_template": TEMPLATE}
    else:
        pipeline, options = _pipeline(files.directory), {"top_k": len(classifier.labels)}
    for name in PHOTOGRAPHS:
        image = photograph(name)
        with Image.open(BytesIO(image)) as opened:
            answers = pipeline(opened.convert("RGB"), **options)
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
    from transformers import AutoModelForImageClassification, pipeline

    make: Any = pipeline
    model = AutoModelForImageClassification.from_pretrained(directory, **_AS_WE_DO, use_safetensors=True)
    return make("image-classification", model=model, image_processor=_processor(directory), device="cpu")


def _zero_shot_pipeline(directory: Path) -> Any:
    from transformers import AutoModelForZeroShotImageClassification, AutoTokenizer, pipeline

    make: Any = pipeline
    model = AutoModelForZeroShotImageClassification.from_pretrained(directory, **_AS_WE_DO, use_safetensors=True)
    tokenizer = AutoTokenizer.from_pretrained(directory, **_AS_WE_DO)
    return make(
        "zero-shot-image-classification",
        model=model,
        tokenizer=tokenizer,
        image_processor=_processor(directory),
        device="cpu",
    )


def _processor(directory: Path) -> Any:
    import transformers

    auto: Any = transformers.AutoImageProcessor
    return auto.from_pretrained(directory, **_AS_WE_DO, backend="pil")
