"""The torch backend against transformers' own processor and model, and the models that it refuses."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification

from tests.unit.models import checkpoints
from worker.errors import ConfigurationError, Fatal
from worker.models.backends.torch import TorchClassifier
from worker.models.backends.torch import load as load_torch
from worker.models.classifier import OutOfMemory, PixelBatch
from worker.models.inference import Batcher
from worker.models.load import load
from worker.models.provenance.files import locate
from worker.models.settings import BatchSettings, ModelSettings
from worker.observe.metrics import Metrics

Change = dict[str, Any]


def settings(directory: Path, **more: Any) -> ModelSettings:
    return ModelSettings(source=str(directory), device="cpu", **more)


def torch_classifier(directory: Path, **more: Any) -> TorchClassifier:
    """The model, not run yet."""
    return load_torch(settings(directory, **more), locate(str(directory)))


def reference(directory: Path, activation: Any) -> tuple[PixelBatch, Any]:
    """What a decoder gives for 20 images, and the scores of transformers alone for them."""
    processor: Any = AutoImageProcessor.from_pretrained(directory, backend="pil")
    model = AutoModelForImageClassification.from_pretrained(directory).eval()
    images = checkpoints.images(20)
    unscaled: dict[str, Any] = {"do_rescale": False, "do_normalize": False, "return_tensors": "np"}
    unscaled |= {step: False for step in ("include_top", "do_flip_channel_order") if hasattr(processor, step)}
    pixels = np.moveaxis(processor(images, **unscaled)["pixel_values"], 1, -1)
    with torch.inference_mode():
        logits = model(**processor(images, return_tensors="pt")).logits
    return np.ascontiguousarray(pixels.astype(np.uint8)), activation(logits).numpy()


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_scores_equal_those_of_transformers(family: str, tmp_path: Path) -> None:
    directory = checkpoints.save(family, tmp_path)
    pixels, expected = reference(directory, lambda logits: logits.softmax(-1))
    classifier = load(settings(directory))
    assert pixels.shape[1:3] == (classifier.recipe.height, classifier.recipe.width)
    assert expected.std(axis=0).max() > 0.03
    np.testing.assert_allclose(classifier.predict(pixels), expected, atol=1e-4)


def test_a_multi_label_model_scores_each_label_on_its_own(tmp_path: Path) -> None:
    directory = checkpoints.save("vit", tmp_path, problem_type="multi_label_classification")
    pixels, expected = reference(directory, torch.sigmoid)
    np.testing.assert_allclose(load(settings(directory)).predict(pixels), expected, atol=1e-4)


async def test_the_batcher_gives_the_scores_that_the_model_gives(tmp_path: Path) -> None:
    directory = checkpoints.save("vit", tmp_path)
    pixels, _ = reference(directory, torch.sigmoid)
    classifier = load(settings(directory))
    batcher = Batcher(classifier, BatchSettings(max_size=7), Metrics())
    batcher.start()
    answers = await asyncio.gather(*map(batcher.join, pixels))
    await batcher.close()
    np.testing.assert_allclose([answer.scores for answer in answers], classifier.predict(pixels), atol=1e-5)


def test_an_image_scores_the_same_in_any_batch(tmp_path: Path) -> None:
    directory = checkpoints.save("efficientnet", tmp_path)
    pixels, _ = reference(directory, torch.sigmoid)
    classifier = load(settings(directory))
    alone = np.concatenate([classifier.predict(pixels[index : index + 1]) for index in range(len(pixels))])
    np.testing.assert_allclose(classifier.predict(pixels), alone, atol=1e-5)


def test_reduced_precision_gives_finite_float32_scores_near_the_full_ones(tmp_path: Path) -> None:
    directory = checkpoints.save("vit", tmp_path)
    pixels, expected = reference(directory, lambda logits: logits.softmax(-1))
    classifier = load(settings(directory, precision="bf16"))
    scores = classifier.predict(pixels)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=0.1)
    assert classifier.identity.precision == "bf16"


def test_labels_come_in_the_order_of_the_scores(tmp_path: Path) -> None:
    shuffled = {str(index): checkpoints.LABELS[index] for index in (3, 1, 0, 4, 2)}
    directory = checkpoints.save("vit", tmp_path)
    edit(directory / "config.json", id2label=shuffled)
    assert load(settings(directory)).labels == ("cat", "dog", "owl", "elk", "bee")


def test_the_processor_files_of_older_transformers_are_read(tmp_path: Path) -> None:
    directory = checkpoints.save("vit", tmp_path)
    old = {"feature_extractor_type": "ViTFeatureExtractor", "size": 224, "resample": 2, "do_resize": True}
    old |= {"do_normalize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    (directory / "preprocessor_config.json").write_text(json.dumps(old))
    recipe = load(settings(directory)).recipe
    assert (recipe.resize_height, recipe.resize_width, recipe.crop) == (224, 224, False)
    assert recipe.scale == pytest.approx((2 / 255,) * 3)


@pytest.mark.parametrize(
    "change",
    [
        {"size": {"shortest_edge": 224}},
        {"do_resize": False},
        {"size": {"shortest_edge": 256, "longest_edge": 512}, "do_center_crop": True, "crop_size": 224},
        {"do_pad": True, "pad_size": {"height": 256, "width": 256}},
        {"image_std": [0, 0, 0]},
        {"size": {"height": 100_000, "width": 100_000}},
    ],
)
def test_a_processor_that_a_recipe_cannot_say_is_refused(change: Change, tmp_path: Path) -> None:
    directory = checkpoints.save("vit", tmp_path)
    edit(directory / "preprocessor_config.json", **change)
    with pytest.raises(ConfigurationError, match=r"model.source: the image processor ViTImageProcessorPil"):
        load(settings(directory))


def test_a_processor_with_steps_of_its_own_is_found_out_by_its_numbers(tmp_path: Path) -> None:
    directory = checkpoints.save("vit", tmp_path)
    edit(
        directory / "preprocessor_config.json",
        image_processor_type="PerceiverImageProcessor",
        do_center_crop=True,
        crop_size={"height": 224, "width": 224},
    )
    with pytest.raises(ConfigurationError, match=r"PerceiverImageProcessorPil.*it does more than that"):
        load(settings(directory))


def test_a_model_without_a_processor_is_refused(tmp_path: Path) -> None:
    directory = checkpoints.save("vit", tmp_path)
    (directory / "preprocessor_config.json").unlink()
    with pytest.raises(ConfigurationError, match="no image processor"):
        load(settings(directory))


def test_a_checkpoint_without_a_classifier_is_refused(tmp_path: Path) -> None:
    directory = checkpoints.save("vit", tmp_path)
    AutoModelForImageClassification.from_pretrained(directory).base_model.save_pretrained(directory)
    with pytest.raises(Fatal, match=r"not a complete image classifier: missing weights.*classifier\.") as caught:
        load(settings(directory))
    assert caught.value.exit_code == 1


def drop(weights: dict[str, torch.Tensor]) -> None:
    del weights["vit.layernorm.weight"]


def add(weights: dict[str, torch.Tensor]) -> None:
    weights["surprise.weight"] = torch.zeros(1)


def reshape(weights: dict[str, torch.Tensor]) -> None:
    weights["classifier.weight"] = torch.zeros(9, 32)


@pytest.mark.parametrize("change", [drop, add, reshape])
def test_weights_that_do_not_fit_exactly_are_refused(change: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = checkpoints.save("vit", tmp_path) / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(Fatal, match=r"model .* (not a complete|cannot be loaded as an) image classifier"):
        load(settings(tmp_path))


def test_a_truncated_file_of_weights_is_refused(tmp_path: Path) -> None:
    file = checkpoints.save("vit", tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(Fatal, match=r"model\.safetensors .* is damaged or cut off"):
        load(settings(tmp_path))


def test_pickled_weights_are_never_loaded(tmp_path: Path) -> None:
    directory = checkpoints.save("vit", tmp_path)
    weights = AutoModelForImageClassification.from_pretrained(directory).state_dict()
    (directory / "model.safetensors").unlink()
    torch.save(weights, directory / "pytorch_model.bin")
    with pytest.raises(Fatal, match="no safetensors weights"):
        load(settings(directory))


def test_a_model_that_is_no_image_classifier_is_refused(tmp_path: Path) -> None:
    directory = checkpoints.save("vit", tmp_path)
    (directory / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    with pytest.raises(Fatal, match="cannot be loaded as an image classifier"):
        load(settings(directory))


def test_a_regression_is_refused(tmp_path: Path) -> None:
    directory = checkpoints.save("vit", tmp_path, problem_type="regression")
    with pytest.raises(Fatal, match="regression"):
        load(settings(directory))


def test_cuda_that_is_not_there_is_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ConfigurationError, match=r"model\.device"):
        load(ModelSettings(source=str(checkpoints.save("vit", tmp_path)), device="cuda"))


@pytest.fixture
def classifier(tmp_path: Path) -> TorchClassifier:
    return torch_classifier(checkpoints.save("vit", tmp_path))


def failing(error: Exception) -> Any:
    def forward(_: Any) -> None:
        raise error

    return forward


def test_out_of_memory_is_told_apart_from_a_bad_image(classifier: TorchClassifier) -> None:
    full = replace(classifier, score=failing(torch.OutOfMemoryError("tried to allocate 2 GiB")))
    with pytest.raises(OutOfMemory, match=r"2 images did not fit.*2 GiB") as caught:
        full.predict(np.zeros((2, 224, 224, 3), np.uint8))
    assert caught.value.__context__ is None  # nothing holds the tensors of the failed batch


def test_an_error_on_a_cpu_may_be_the_images_fault(classifier: TorchClassifier) -> None:
    broken = replace(classifier, score=failing(RuntimeError("value cannot be converted")))
    with pytest.raises(RuntimeError, match="cannot be converted"):
        broken.predict(np.zeros((1, 224, 224, 3), np.uint8))


def test_the_hosts_memory_running_out_is_no_fault_of_an_image(classifier: TorchClassifier) -> None:
    full = replace(classifier, score=failing(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")))
    with pytest.raises(OutOfMemory, match="can't allocate memory"):
        full.predict(np.zeros((2, 224, 224, 3), np.uint8))


def test_an_error_of_a_cuda_device_stops_the_worker(classifier: TorchClassifier) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device, and it works")
    gone = replace(classifier, score=failing(RuntimeError("CUDA error: an illegal memory access")))
    gone.engine.device = torch.device("cuda")
    with pytest.raises(Fatal, match=r"the device cuda failed.*started anew"):
        gone.predict(np.zeros((1, 224, 224, 3), np.uint8))


class Sizes:
    """Scores a module's batches, and notes how large they were."""

    def __init__(self, classifier: TorchClassifier) -> None:
        self.seen: list[int] = []
        self._score = classifier.score

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(pixels))
        return self._score(pixels)


def test_a_deterministic_model_gives_an_image_the_same_bits_whichever_come_with_it(tmp_path: Path) -> None:
    directory = checkpoints.save("vit", tmp_path)
    pixels, _ = reference(directory, torch.sigmoid)
    classifier = torch_classifier(directory, deterministic=True)
    try:
        classifier = replace(classifier, score=(sizes := Sizes(classifier)))
        classifier.prepare(8)
        together = classifier.predict(pixels[:8])
        for index in range(8):
            others = np.roll(pixels, -index, axis=0)
            assert (classifier.predict(others[: index + 1])[0] == together[index]).all()
        assert set(sizes.seen) == {8}
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_compiled_model_gives_the_same_scores_and_runs_only_the_sizes_it_was_compiled_for(tmp_path: Path) -> None:
    directory = checkpoints.save("vit", tmp_path, num_hidden_layers=1)
    pixels, expected = reference(directory, lambda logits: logits.softmax(-1))
    classifier = torch_classifier(directory, compile=True)
    sizes = Sizes(classifier)
    classifier = replace(classifier, score=sizes)
    classifier.prepare(2)
    assert sizes.seen == [1, 2]
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for count in (2, 1):
        np.testing.assert_allclose(classifier.predict(pixels[:count]), expected[:count], atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled


def test_a_model_that_cannot_be_compiled_stops_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    classifier = torch_classifier(checkpoints.save("vit", tmp_path), compile=True)
    with pytest.raises(Fatal, match=r"model\.compile: .*install a C\+\+ compiler"):
        classifier.prepare(1)
