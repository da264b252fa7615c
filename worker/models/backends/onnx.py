"""Image classifiers in ONNX files on ONNX Runtime, on a CPU or a CUDA device: our exports, and other people's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from worker.cpus import available_cpus
from worker.errors import ConfigurationError, Fatal
from worker.models.backends import onnx_description, onnx_file, onnx_stamp
from worker.models.backends.onnx_description import Description
from worker.models.backends.onnx_graph import self_contained
from worker.models.classifier import OutOfMemory, PixelBatch, ScoreBatch
from worker.models.lines import first_line
from worker.models.provenance.files import ModelFiles, fingerprint
from worker.models.settings import ModelSettings
from worker.recipe import InputRecipe
from worker.records import ModelIdentity

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_FATAL_ONLY = 4
_FULL = ("failed to allocate memory", "bad_alloc", "out of memory", "alloc_failed")
"""What ONNX Runtime's errors say of memory, in lower case: it has no kind of error for it."""
_TRIED = (1, 3)
"""Sizes of a batch: what is fixed inside fits one of them at most."""
_ALONE = 0.1
"""More than any int8 was seen to change an image's score when others come with it."""
_ROUNDING = 1e-3
"""How far beyond 0 and 1 float16 may round a probability."""
_UNCHANGED = ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


@dataclass(frozen=True, slots=True)
class OnnxClassifier:
    """A session over a self-contained graph. Keeps the `Classifier` contract."""

    identity: ModelIdentity
    labels: tuple[str, ...]
    recipe: InputRecipe
    session: Any

    def predict(self, batch: PixelBatch) -> ScoreBatch:
        """Scores of (N, H, W, 3) uint8 pixels; see `Classifier.predict`.

        int8 is the exception to its third sentence: its activations are quantised by the range that they have in the
        whole batch, so that the other images change a score a little.
        """
        try:
            scores: ScoreBatch = self.session.run(None, {self.session.get_inputs()[0].name: batch})[0]
        except Exception as error:
            reason = first_line(error)
            if not any(words in str(error).lower() for words in _FULL):
                if self.session.get_providers()[0] == _CPU:
                    raise
                raise Fatal(f"the device failed, and the worker has to be started anew: {reason}") from error
        else:
            return scores
        raise OutOfMemory(f"{len(batch)} images did not fit the device: {reason}")


def load(settings: ModelSettings, files: ModelFiles) -> OnnxClassifier:
    """The model in an ONNX file: an export, which says all of itself, or any other with its description beside it.

    Raises ConfigurationError and Fatal as `worker.models.load.load_known` does.
    """
    path, sha256 = files.directory / files.files[0].name, files.files[0].sha256
    data = onnx_file.content(path, sha256)
    model = onnx_file.parse(data, path)
    stamp = onnx_stamp.read(model, path)
    if stamp is None:
        described = onnx_description.read(path)
        data = _described(model, described, path)
        labels, recipe, precision = described.labels, described.recipe, "fp32"
    else:
        labels, recipe, precision = stamp.labels, stamp.recipe, stamp.precision
    if settings.precision not in ("fp32", precision):
        raise ConfigurationError(
            f"model.precision is `{settings.precision}`, but the ONNX file {path} is what it is ({precision}):"
            " leave model.precision out"
        )
    classifier = OnnxClassifier(_identity(files, recipe, precision), labels, recipe, _session(settings, data, path))
    _try(classifier, path)
    return classifier


def _described(model: Any, description: Description, path: Path) -> bytes:
    """The self-contained graph. Raises ConfigurationError where file and description do not fit each other."""
    signature, recipe = onnx_file.signature(model, path), description.recipe
    trouble = ""
    for what, here, said in (("height", signature.height, recipe.height), ("width", signature.width, recipe.width)):
        if here not in (None, said):
            trouble = f"takes images of {what} {here}, and its description says {said}"
    if signature.labels not in (None, len(description.labels)):
        trouble = f"gives {signature.labels} scores, and its description names {len(description.labels)} labels"
    if signature.element == "uint8" and (recipe.scale, recipe.shift) != _UNCHANGED:
        trouble = "takes bytes, so its description must say `rescale = 1` and no mean or std"
    if trouble:
        raise ConfigurationError(f"the ONNX file {path} {trouble}")
    return self_contained(model, signature, recipe, description.activation)


def _identity(files: ModelFiles, recipe: InputRecipe, precision: str) -> ModelIdentity:
    import onnxruntime

    runtime = f"onnxruntime {onnxruntime.__version__}"
    return ModelIdentity(
        name=files.name,
        revision=files.revision,
        fingerprint=fingerprint(files, recipe, runtime, precision),
        runtime=runtime,
        precision=precision,
    )


def _session(settings: ModelSettings, graph: bytes, path: Path) -> Any:
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads = settings.threads or available_cpus()
    options.inter_op_num_threads = 1
    # Threads that spin between two batches take the CPUs of the decode processes: with a batch of 8 every 0.2 s it was
    # half as much CPU again. Not spinning was seen to cost no images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # One is kept for each size of a batch and never given back: memory would grow with every new size.
    options.enable_mem_pattern = False
    # What goes wrong is raised too, and its line would go between the log's lines.
    options.log_severity_level = _FATAL_ONLY
    providers = _providers(settings, runtime)
    try:
        return runtime.InferenceSession(graph, options, providers=providers)
    except Exception as error:
        raise Fatal(f"ONNX Runtime cannot run the file {path}: {first_line(error)}") from error


def _providers(settings: ModelSettings, runtime: Any) -> list[str]:
    present = _CUDA in runtime.get_available_providers()
    if settings.device == "cuda" and not present:
        raise ConfigurationError(
            "model.device is `cuda`, but ONNX Runtime has no CUDA here: install onnxruntime-gpu in the place of"
            " onnxruntime, or write `cpu` or `auto`"
        )
    return [_CUDA, _CPU] if present and settings.device != "cpu" else [_CPU]


def _try(classifier: OnnxClassifier, path: Path) -> None:
    """Two sizes of a batch. Raises Fatal where one fails, or an image's scores depend on the others.

    A graph may declare a free batch and have a fixed one inside.
    """
    images, found = _dark_to_bright(classifier.recipe), []
    for size in _TRIED:
        try:
            scores = classifier.predict(images[:size])
        except Exception as error:
            raise Fatal(
                f"the ONNX file {path} fails on a batch of {size} ({first_line(error)}): if the batch is fixed inside,"
                " export it anew with a free one"
            ) from error
        if scores.shape != (size, len(classifier.labels)):
            raise Fatal(
                f"the ONNX file {path} gives scores of shape {scores.shape} for {size} images and"
                f" {len(classifier.labels)} labels: export it anew with a free batch"
            )
        if scores.min() < -_ROUNDING or scores.max() > 1 + _ROUNDING:
            raise ConfigurationError(
                f"the ONNX file {path} gives scores from {scores.min():.3g} to {scores.max():.3g}, which are no"
                " probabilities: write scores = `softmax` or `sigmoid` into its description"
            )
        found.append(scores[0])
    if (change := float(np.abs(found[0] - found[1]).max())) > _ALONE:
        raise Fatal(
            f"the ONNX file {path} gives an image other scores when it is in a batch with others (up to {change:.2g}):"
            " export it anew for inference"
        )


def _dark_to_bright(recipe: InputRecipe) -> PixelBatch:
    """Noise in as many brightnesses as images are tried, so that what they have in common is little."""
    noise = np.random.default_rng(0).integers(0, 64, (max(_TRIED), recipe.height, recipe.width, 3), np.uint8)
    brightness = np.linspace(0, 191, len(noise)).astype(np.uint8)
    return noise + brightness[:, None, None, None]
