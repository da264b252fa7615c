"""What can be told of a model's files before transformers reads them: whether they are whole, and of what kind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from worker.errors import Fatal
from worker.models.backends.label_set import ZERO_SHOT
from worker.models.lines import first_line
from worker.models.provenance.files import ModelFiles
from worker.printable import printable

_ADAPTER = "adapter_config.json"
_INDEX = ".safetensors.index.json"
_MADE_UP = re.compile(r"LABEL_\d+")
_CLASSIFIER = "ForImageClassification"
_TEXT_HEADS = (
    *("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice"),
    *("ForCausalLM", "ForMaskedLM", "LMHeadModel"),
)


def check(files: ModelFiles) -> None:
    """Raises Fatal, in one line, where a file is damaged, leads elsewhere, or is of a model of text."""
    config = config_of(files)
    names = {file.name for file in files.files}
    if _ADAPTER in names:
        raise Fatal(
            f"model {files.name} is an adapter to another model and not whole: {files.directory} has {_ADAPTER};"
            " merge it into its base model and save that"
        )
    for name in sorted(names):
        if name.endswith(_INDEX):
            _check_index(files, name, names)
        elif name.endswith(".safetensors"):
            _check_weights(files, name)
    if (kernels := next(_kernels(config), None)) is not None:
        raise Fatal(
            f"model {files.name}: config.json asks for code of the hub ({printable(kernels)}), which is never run: take"
            " that entry out of a copy"
        )
    kind = architecture(config)
    if kind.endswith(_TEXT_HEADS):
        raise Fatal(
            f"model {files.name} cannot be loaded as an image classifier: it is a {kind}, which takes text;"
            " choose a model of images"
        )


def config_of(files: ModelFiles) -> dict[str, Any]:
    """config.json. Raises Fatal where it is no JSON object."""
    return _json(files, "config.json")


def architecture(config: dict[str, Any]) -> str:
    """The class that the weights were saved from, or at least the kind of model; on one line."""
    stated = config.get("architectures")
    first = stated[0] if isinstance(stated, list) and stated else config.get("model_type")
    return printable(str(first or "unknown"))


def is_zero_shot(files: ModelFiles) -> bool:
    """Whether the model scores whatever labels it is given: CLIP and SigLIP, but not where they have a classifier."""
    config = config_of(files)
    return config.get("model_type") in ZERO_SHOT and not architecture(config).endswith(_CLASSIFIER)


def labels(files: ModelFiles, id2label: dict[int, Any]) -> tuple[str, ...]:
    """The names of the scores, in their order, out of what transformers read. Two may be equal.

    Raises Fatal where config.json names none: transformers then makes up LABEL_0, LABEL_1 and so on, and a policy for
    those would be a guess.
    """
    where = f"model {files.name}: id2label in config.json"
    if sorted(id2label) != list(range(len(id2label))):
        raise Fatal(f"{where} does not name the labels 0 to {len(id2label) - 1}")
    names = tuple(id2label[index] for index in range(len(id2label)))
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise Fatal(f"{where} has a label that is no text: write a name for each")
    if all(_MADE_UP.fullmatch(name) for name in names):
        raise Fatal(f"{where} is missing or made up (LABEL_0, ...): write what each of the {len(names)} scores means")
    return names


def _kernels(config: dict[str, Any]) -> Iterator[str]:
    """Implementations that transformers would fetch and run, as `attn_implementation` can name them."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _kernels(value)
        elif "_implementation" in key and isinstance(value, str) and "/" in value:
            yield f"{key}: {value}"


def _json(files: ModelFiles, name: str) -> dict[str, Any]:
    try:
        value = json.loads((files.directory / name).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Fatal(f"model {files.name}: {name} is damaged: {first_line(error)}; fetch it again") from error
    if not isinstance(value, dict):
        raise Fatal(f"model {files.name}: {name} is damaged: it is no JSON object; fetch it again")
    return value


def _check_index(files: ModelFiles, name: str, names: set[str]) -> None:
    """Weights that an index looks for elsewhere would be neither hashed nor locked."""
    parts = _json(files, name).get("weight_map")
    if not isinstance(parts, dict) or not parts:
        raise Fatal(f"model {files.name}: {name} is damaged: it has no weight_map; fetch it again")
    for part in map(str, parts.values()):
        if part not in names:
            raise Fatal(
                f"model {files.name}: {name} names {printable(part)}, which is no file of {files.directory}:"
                " fetch all parts of the model"
            )


def _check_weights(files: ModelFiles, name: str) -> None:
    """Reads the head only, which says how long the file must be."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(files.directory / name, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        size = next(file.size for file in files.files if file.name == name)
        raise Fatal(
            f"model {files.name}: {name} ({size} bytes) is damaged or cut off: {first_line(error)}; fetch it again"
        ) from error
