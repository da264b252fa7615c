"""Small CLIP and SigLIP models with random weights, saved as transformers saves them, with real tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

LETTERS = "abcdefghijklmnopqrstuvwxyz.,{}0123456789"
_TOWER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
_VISION = _TOWER | {"patch_size": 32, "image_size": 224}


def save(kind: str, directory: Path) -> Path:
    """Writes a model of the kind, `clip` or `siglip`, into the directory, and returns it."""
    torch.manual_seed(7)
    model, tokenizer, processor = {"clip": _clip, "siglip": _siglip}[kind](directory)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2)  # untrained, the towers tell no two images apart
        model.logit_scale.fill_(4.0)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


def _clip(_: Path) -> Any:
    ends = [f"{letter}</w>" for letter in LETTERS]
    words = [*LETTERS, *ends, "ph", "pho", "ca", "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    merges = [("p", "h"), ("ph", "o"), ("c", "a")]
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)
    text = _TOWER | {"vocab_size": len(words), "eos_token_id": len(words) - 1, "bos_token_id": len(words) - 2}
    config = transformers.CLIPConfig(text_config=text, vision_config=_VISION, projection_dim=24)
    return transformers.CLIPModel(config).eval(), tokenizer, CLIPImageProcessorPil()


def _siglip(directory: Path) -> Any:
    directory.mkdir(parents=True, exist_ok=True)
    sentences = ["this is a photo of a cat.", "a dog", "an owl on a tree", "elk and bee", "a cup of coffee", LETTERS]
    with (directory / "spiece.model").open("wb") as model:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences * 20), model_writer=model, model_type="char", minloglevel=2
        )
    tokenizer = transformers.SiglipTokenizer(str(directory / "spiece.model"))
    text = _TOWER | {"vocab_size": 64, "max_position_embeddings": 64, "projection_size": 32} | _ENDS
    config = transformers.SiglipConfig(text_config=text, vision_config=_VISION)
    model = transformers.SiglipModel(config).eval()
    return model, tokenizer, SiglipImageProcessorPil(size={"height": 224, "width": 224})
