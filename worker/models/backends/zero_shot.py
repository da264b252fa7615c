"""CLIP and SigLIP through transformers: labels are text, and may change while the model runs.

An image's score for a label is how near its embedding is to that of the label's prompts (Radford et al., "Learning
Transferable Visual Models From Natural Language Supervision", 2021). The text's embeddings are computed once for a
label set; each batch costs the image encoder and one small product.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from worker.errors import ConfigurationError, Fatal
from worker.models.backends import label_set, processor
from worker.models.backends.engine import Engine, Score
from worker.models.backends.torch import DTYPES, Normalise, identity_of, open_engine, placed, pretrained
from worker.models.classifier import PixelBatch, ScoreBatch
from worker.models.lines import first_line
from worker.models.provenance.files import ModelFiles
from worker.models.settings import ModelSettings
from worker.recipe import InputRecipe
from worker.records import ModelIdentity

_TEXTS_AT_ONCE = 256


class ImageEncoder(nn.Module):
    """(N, H, W, 3) uint8 pixels to (N, D) embeddings of length 1."""

    def __init__(self, recipe: InputRecipe, model: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self.normalise = Normalise(recipe, dtype)
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return _unit(self.model.get_image_features(pixel_values=self.normalise(pixels)).pooler_output)


class Labels:
    """A label set with its prompts' embeddings."""

    def __init__(self, labels: tuple[str, ...], identity: ModelIdentity, text: torch.Tensor) -> None:
        self.labels = labels
        self.identity = identity
        self.text = text
        """(D, L) on the device, each column of length 1."""


@dataclass(frozen=True, slots=True)
class Prompter:
    """Turns labels into embeddings: the text half of the model."""

    name: str
    model: Any
    tokenizer: Any
    templates: tuple[str, ...]
    padding: dict[str, Any]
    """How the reference implementation pads: SigLIP was trained with prompts of one length."""

    def tokens(self, labels: Sequence[str]) -> list[list[int]]:
        """The tokens of each label's prompts, the first label's first. Raises ConfigurationError."""
        longest = int(self.model.config.text_config.max_position_embeddings)
        prompts = self._prompts(labels)
        tokens: list[list[int]] = self.tokenizer(prompts)["input_ids"]
        for prompt, ids in zip(prompts, tokens, strict=True):
            if len(ids) > longest:
                raise ConfigurationError(
                    f"model.labels: the prompt {prompt[:60]!r} has {len(ids)} tokens, and {self.name} reads {longest}:"
                    " write a shorter label or template"
                )
        return tokens

    @torch.inference_mode()
    def embeddings(self, labels: Sequence[str]) -> torch.Tensor:
        """(L, D): of each label the mean of its prompts' embeddings, of length 1 again."""
        prompts = self._prompts(labels)
        starts = range(0, len(prompts), _TEXTS_AT_ONCE)
        texts = torch.cat([self._embed(prompts[start : start + _TEXTS_AT_ONCE]) for start in starts])
        each = texts.view(len(labels), len(self.templates), -1)
        return each[:, 0] if len(self.templates) == 1 else _unit(each.mean(dim=1))

    def _prompts(self, labels: Sequence[str]) -> list[str]:
        return [template.format(label) for label in labels for template in self.templates]

    def _embed(self, prompts: list[str]) -> torch.Tensor:
        inputs = self.tokenizer(prompts, return_tensors="pt", **self.padding).to(self.model.device)
        return _unit(self.model.get_text_features(**inputs).pooler_output)


class ZeroShotClassifier:
    """A zero-shot model and the labels that it scores. Keeps the `Classifier` contract, and `Renews`."""

    def __init__(
        self,
        identity: ModelIdentity,
        labels: Sequence[str],
        recipe: InputRecipe,
        engine: Engine,
        encode: Score,
        prompter: Prompter,
    ) -> None:
        """`identity`: of the model without labels. Raises ConfigurationError where a label is too long for it."""
        self.recipe = recipe
        self._model_identity = identity
        self._engine = engine
        self._encode = encode
        self._prompter = prompter
        self._to_scores = _to_scores(prompter.model)
        self._now = self._made(tuple(labels))
        self._next: Labels | None = None

    def about(self, labels: Sequence[str], template: str) -> ZeroShotClassifier:
        """The same model, with labels and a prompt of its own. See `Relabels.about`."""
        identity, engine = self._model_identity, self._engine
        prompter = replace(self._prompter, templates=(template,))
        return ZeroShotClassifier(identity, labels, self.recipe, engine, self._encode, prompter)

    def relabel(self, labels: Sequence[str]) -> ModelIdentity:
        """Have these labels from the next batch on. See `Relabels.relabel`."""
        self._next = made = self._made(tuple(labels))
        return made.identity

    @property
    def identity(self) -> ModelIdentity:
        return self._now.identity

    @property
    def labels(self) -> tuple[str, ...]:
        return self._now.labels

    @property
    def renewal_waits(self) -> bool:
        """See `Renews`."""
        return self._next is not None

    def renew(self) -> None:
        """See `Renews.renew`."""
        if self._next is not None:
            self._now, self._next = self._next, None

    def prepare(self, max_size: int) -> None:
        """See `Prepares.prepare`."""
        self._engine.prepare(max_size, partial(self._score, self._now), self.recipe.height, self.recipe.width)

    def begin(self, batch: PixelBatch) -> Callable[[], ScoreBatch]:
        """See `WorksAhead.begin`."""
        return self._engine.begin(batch, partial(self._score, self._now))

    def predict(self, batch: PixelBatch) -> ScoreBatch:
        """Scores of (N, H, W, 3) uint8 pixels; see `Classifier.predict`."""
        return self.begin(batch)()

    def _score(self, labels: Labels, pixels: torch.Tensor) -> torch.Tensor:
        return self._to_scores(self._encode(pixels) @ labels.text)

    def _made(self, labels: tuple[str, ...]) -> Labels:
        version = label_set.version(labels, self._prompter.templates, self._prompter.tokens(labels))
        try:
            text = self._prompter.embeddings(labels).T.contiguous()
        except RuntimeError as error:
            raise Fatal(f"the text of {len(labels)} labels could not be embedded: {first_line(error)}") from error
        fingerprint = hashlib.sha256(f"{self._model_identity.fingerprint}\n{version}".encode()).hexdigest()
        return Labels(labels, replace(self._model_identity, fingerprint=fingerprint, labels_version=version), text)


def load(settings: ModelSettings, files: ModelFiles) -> ZeroShotClassifier:
    """The zero-shot model in these files, with the labels of the settings. Raises ConfigurationError and Fatal."""
    from transformers import AutoModelForZeroShotImageClassification

    labels = label_set.labels_of(settings)
    engine, dtype = open_engine(settings), DTYPES[settings.precision]
    recipe = processor.read(files.directory)
    model = pretrained(AutoModelForZeroShotImageClassification, files, dtype)
    encode = placed(ImageEncoder(recipe, model, dtype), engine, settings)
    prompter = Prompter(files.name, model, _tokenizer(files), settings.templates, _padding(model))
    return ZeroShotClassifier(identity_of(files, recipe, settings), labels, recipe, engine, encode, prompter)


def _tokenizer(files: ModelFiles) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(files.directory, local_files_only=True, trust_remote_code=False)
    except ImportError as error:
        raise ConfigurationError(
            f"model {files.name}: its tokenizer needs a package that is not installed: {first_line(error)};"
            " run `pip install 'image-worker[zero-shot]'`"
        ) from error
    except Exception as error:
        raise Fatal(f"model {files.name}: its tokenizer cannot be read: {first_line(error)}") from error


def _padding(model: Any) -> dict[str, Any]:
    """As the zero-shot-image-classification pipeline of transformers pads."""
    if model.config.model_type == "siglip":
        return {"padding": "max_length", "max_length": model.config.text_config.max_position_embeddings}
    return {"padding": True}


def _to_scores(model: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Cosines (N, L) to probabilities: a sigmoid each for SigLIP, a softmax over the labels for CLIP."""
    with torch.inference_mode():
        scale = model.logit_scale.exp()
    if model.config.model_type == "siglip":
        return lambda cosines: torch.sigmoid((cosines * scale + model.logit_bias).float())
    return lambda cosines: torch.softmax((cosines * scale).float(), dim=-1)


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    length: torch.Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / length
