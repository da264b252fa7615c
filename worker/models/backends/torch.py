"""Any transformers image-classification model on torch, on a CPU or a CUDA device by the same code."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

import torch

from worker.cpus import available_cpus
from worker.errors import ConfigurationError, Fatal
from worker.models.backends import processor
from worker.models.classifier import OutOfMemory, PixelBatch, ScoreBatch
from worker.models.lines import first_line
from worker.models.provenance.files import ModelFiles, fingerprint
from worker.models.provenance.whole import labels
from worker.models.settings import Device, ModelSettings, Precision
from worker.recipe import InputRecipe
from worker.records import ModelIdentity

Activation = Callable[[torch.Tensor], torch.Tensor]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class TorchClassifier:
    """A transformers model and all it takes to score uint8 pixels with it. Keeps the `Classifier` contract."""

    identity: ModelIdentity
    labels: tuple[str, ...]
    recipe: InputRecipe
    model: Any
    device: torch.device
    dtype: torch.dtype
    activation: Activation
    scale: torch.Tensor
    """(1, 3, 1, 1) float32 on the device; so is `shift`."""
    shift: torch.Tensor

    def predict(self, batch: PixelBatch) -> ScoreBatch:
        """Scores of (N, H, W, 3) uint8 pixels; see `Classifier.predict`."""
        try:
            return self._scores(batch)
        except torch.OutOfMemoryError as error:
            reason = first_line(error)
        except RuntimeError as error:
            if self.device.type == "cpu":
                raise
            raise Fatal(
                f"the device {self.device} failed, and the worker has to be started anew: {first_line(error)}"
            ) from error
        # The traceback held the batch's tensors until here: only now can their memory be given back.
        torch.cuda.empty_cache()
        raise OutOfMemory(f"{len(batch)} images did not fit the device: {reason}")

    @torch.inference_mode()
    def _scores(self, batch: PixelBatch) -> ScoreBatch:
        pixels = torch.from_numpy(batch)
        if self.device.type == "cuda":
            pixels = pixels.pin_memory().to(self.device, non_blocking=True)
        # (N, H, W, 3) seen as (N, 3, H, W) is torch's channels_last: no copy, and a third less CPU in convolutions.
        normalised = torch.addcmul(self.shift, pixels.permute(0, 3, 1, 2).float(), self.scale)
        logits = self.model(pixel_values=normalised.to(self.dtype)).logits
        scores: ScoreBatch = self.activation(logits.float()).cpu().numpy()
        return scores


def load(settings: ModelSettings, files: ModelFiles) -> TorchClassifier:
    """The model in these files, on the device that the settings name.

    Raises ConfigurationError and Fatal as `worker.models.load.load_known` does.
    """
    device, dtype = _device(settings.device), _DTYPES[settings.precision]
    torch.set_num_threads(settings.threads or available_cpus())
    _quiet()
    recipe = processor.read(files.directory)
    model = _model(files, dtype).eval().to(device)
    if settings.precision == "fp32":
        torch.backends.cudnn.allow_tf32 = False  # on by default, and it costs convolutions 13 bits of their mantissa
    scale, shift = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (recipe.scale, recipe.shift))
    return TorchClassifier(
        identity=_identity(files, recipe, settings.precision),
        labels=labels(files, model.config.id2label),
        recipe=recipe,
        model=model,
        device=device,
        dtype=dtype,
        activation=_activation(files.name, model.config),
        scale=scale,
        shift=shift,
    )


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


def _model(files: ModelFiles, dtype: torch.dtype) -> Any:
    """The model with every weight read from its safetensors: none missing, left over or of another shape."""
    from transformers import AutoModelForImageClassification

    try:
        model, report = AutoModelForImageClassification.from_pretrained(
            files.directory,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:
        raise Fatal(f"model {files.name} cannot be loaded as an image classifier: {first_line(error)}") from error
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if report[kind]:
            _refuse(files.directory, files.name, kind, sorted(map(str, report[kind])))
    return model


def _refuse(directory: Path, name: str, kind: str, keys: list[str]) -> Never:
    named = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
    what = kind.removesuffix("_keys")
    raise Fatal(
        f"model {name} is not a complete image classifier: {what} weights in {directory}: {named};"
        " use a checkpoint that was trained and saved with its classifier"
    )


def _identity(files: ModelFiles, recipe: InputRecipe, precision: Precision) -> ModelIdentity:
    import transformers

    runtime = f"torch {torch.__version__.partition('+')[0]}, transformers {transformers.__version__}"
    return ModelIdentity(
        name=files.name,
        revision=files.revision,
        fingerprint=fingerprint(files, recipe, runtime, precision),
        runtime=runtime,
        precision=precision,
    )


def _activation(name: str, config: Any) -> Activation:
    """As the image-classification pipeline of transformers decides (its `postprocess`)."""
    if config.problem_type == "regression":
        raise Fatal(f"model {name} is a regression: its outputs are no probabilities of labels")
    if config.problem_type == "multi_label_classification" or config.num_labels == 1:
        return torch.sigmoid
    return lambda logits: torch.softmax(logits, dim=-1)
