"""Any transformers image-classification model on torch, on a CPU or a CUDA device by the same code."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never, cast

import torch
from torch import nn

from worker.cpus import available_cpus
from worker.errors import ConfigurationError, Fatal
from worker.models.backends import processor
from worker.models.backends.engine import Engine, Score
from worker.models.classifier import PixelBatch, ScoreBatch
from worker.models.lines import first_line
from worker.models.provenance.files import ModelFiles, fingerprint
from worker.models.provenance.whole import labels
from worker.models.settings import Device, ModelSettings
from worker.recipe import InputRecipe
from worker.records import ModelIdentity

Activation = Callable[[torch.Tensor], torch.Tensor]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_SIZES_COMPILED = 32
"""More than there are buckets below the largest batch allowed."""


class Normalise(nn.Module):
    """(N, H, W, 3) uint8 pixels to (N, 3, H, W) of the model's type and colour: `pixel * scale + shift` by channel."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, recipe: InputRecipe, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self._turned = recipe.colour == "BGR"
        self.register_buffer("scale", torch.tensor(recipe.scale).view(1, 3, 1, 1))
        self.register_buffer("shift", torch.tensor(recipe.shift).view(1, 3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if self._turned:
            pixels = pixels.flip(-1)
        # (N, H, W, 3) seen as (N, 3, H, W) is torch's channels_last: no copy, and a third less CPU in convolutions.
        return torch.addcmul(self.shift, pixels.permute(0, 3, 1, 2).float(), self.scale).to(self._dtype)


class Scorer(nn.Module):
    """(N, H, W, 3) uint8 pixels to (N, L) float32 probabilities: all that a model does, in one module."""

    def __init__(self, recipe: InputRecipe, model: nn.Module, activation: Activation, dtype: torch.dtype) -> None:
        super().__init__()
        self.normalise = Normalise(recipe, dtype)
        self.model = model
        self.activation = activation

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.activation(self.model(pixel_values=self.normalise(pixels)).logits.float())


@dataclass(frozen=True, slots=True)
class TorchClassifier:
    """A transformers model and all it takes to score uint8 pixels with it. Keeps the `Classifier` contract."""

    identity: ModelIdentity
    labels: tuple[str, ...]
    recipe: InputRecipe
    engine: Engine
    score: Score

    def prepare(self, max_size: int) -> None:
        """See `Prepares.prepare`."""
        self.engine.prepare(max_size, self.score, self.recipe.height, self.recipe.width)

    def begin(self, batch: PixelBatch) -> Callable[[], ScoreBatch]:
        """See `WorksAhead.begin`."""
        return self.engine.begin(batch, self.score)

    def predict(self, batch: PixelBatch) -> ScoreBatch:
        """Scores of (N, H, W, 3) uint8 pixels; see `Classifier.predict`."""
        return self.begin(batch)()


def load(settings: ModelSettings, files: ModelFiles) -> TorchClassifier:
    """The model in these files, on the device that the settings name.

    Raises ConfigurationError and Fatal as `worker.models.load.load_known` does.
    """
    from transformers import AutoModelForImageClassification

    engine, dtype = open_engine(settings), DTYPES[settings.precision]
    recipe = processor.read(files.directory)
    model = pretrained(AutoModelForImageClassification, files, dtype)
    scorer = Scorer(recipe, model, _activation(files.name, model.config), dtype)
    return TorchClassifier(
        identity=identity_of(files, recipe, settings),
        labels=labels(files, model.config.id2label),
        recipe=recipe,
        engine=engine,
        score=placed(scorer, engine, settings),
    )


def open_engine(settings: ModelSettings) -> Engine:
    """The device that the settings name, with torch set up for it."""
    torch.set_num_threads(settings.threads or available_cpus())
    if settings.precision == "fp32":
        torch.backends.cudnn.allow_tf32 = False  # on by default, and it costs convolutions 13 bits of their mantissa
    return Engine(_device(settings.device), compiled=settings.compile, deterministic=settings.deterministic)


def placed(module: nn.Module, engine: Engine, settings: ModelSettings) -> Score:
    """The module on its device, ready to run; compiled when it is first run, where that is wanted."""
    # Weights of convolutions in the layout of the pixels: else each convolution on a GPU would turn them round.
    there: Any = module.eval().to(engine.device)
    there.to(memory_format=torch.channels_last)
    if not settings.compile:
        return cast(Score, there)
    torch._dynamo.config.recompile_limit = max(_SIZES_COMPILED, torch._dynamo.config.recompile_limit)
    score: Score = torch.compile(there, dynamic=False)
    return score


def _device(wanted: Device) -> torch.device:
    present = torch.cuda.is_available()
    if wanted == "cuda" and not present:
        raise ConfigurationError("model.device is `cuda`, but torch sees no CUDA device here: write `cpu` or `auto`")
    return torch.device("cuda" if wanted != "cpu" and present else "cpu")


def _quiet() -> None:
    """transformers' own progress bars and warnings would go between the log's lines; what they say is checked here."""
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    from transformers import utils

    logging: Any = utils.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def pretrained(auto: Any, files: ModelFiles, dtype: torch.dtype) -> Any:
    """The model with every weight read from its safetensors: none missing, left over or of another shape."""
    _quiet()
    try:
        model, report = auto.from_pretrained(
            files.directory,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # so that they are told below, by their names
            output_loading_info=True,
        )
    except Exception as error:
        raise Fatal(f"model {files.name} cannot be loaded as an image classifier: {first_line(error)}") from error
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if report[kind]:
            _refuse(files.directory, files.name, kind, sorted(map(_shown, report[kind])))
    return model


def _shown(key: Any) -> str:
    """A weight's name; of one with another shape than config.json gives it, both shapes."""
    if isinstance(key, str):
        return key
    name, stored, wanted = key
    return f"{name} is {tuple(stored)} in the file and {tuple(wanted)} by config.json"


def _refuse(directory: Path, name: str, kind: str, keys: list[str]) -> Never:
    named = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
    what = kind.removesuffix("_keys")
    advice = "use a checkpoint that was trained and saved with its classifier"
    if what == "mismatched":
        advice = "use the config.json that it was saved with, whose id2label names every label"
    raise Fatal(f"model {name} is not a complete image classifier: {what} weights in {directory}: {named}; {advice}")


def identity_of(files: ModelFiles, recipe: InputRecipe, settings: ModelSettings) -> ModelIdentity:
    import transformers

    torch_version = torch.__version__.partition("+")[0]
    runtime = f"torch {torch_version}{' compiled' if settings.compile else ''}, transformers {transformers.__version__}"
    return ModelIdentity(
        name=files.name,
        revision=files.revision,
        fingerprint=fingerprint(files, recipe, runtime, settings.precision),
        runtime=runtime,
        precision=settings.precision,
    )


def _activation(name: str, config: Any) -> Activation:
    """As the image-classification pipeline of transformers decides (its `postprocess`)."""
    if config.problem_type == "regression":
        raise Fatal(f"model {name} is a regression: its outputs are no probabilities of labels")
    if config.problem_type == "multi_label_classification" or config.num_labels == 1:
        return torch.sigmoid
    return lambda logits: torch.softmax(logits, dim=-1)
