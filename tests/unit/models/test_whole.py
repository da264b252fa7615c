"""Models that are damaged or of another kind: each in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.unit.models import checkpoints
from worker.errors import Fatal
from worker.models.load import load
from worker.models.settings import ModelSettings


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save("vit", tmp_path_factory.mktemp("whole") / "tiny-vit")


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "tiny-vit"))


def refusal(model: Path) -> str:
    """The one line with which the model is refused."""
    with pytest.raises(Fatal) as caught:
        load(ModelSettings(source=str(model), device="cpu"))
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    assert text.startswith("model tiny-vit")
    return text


def edit(model: Path, **changes: Any) -> None:
    config = json.loads((model / "config.json").read_text()) | changes
    stated = {key: value for key, value in config.items() if value is not None}
    (model / "config.json").write_text(json.dumps(stated))


def test_a_label_that_is_missing_is_told_with_the_weights_that_it_leaves_over(model: Path) -> None:
    edit(model, id2label={"0": "cat", "1": "dog"}, label2id=None)
    text = refusal(model)
    assert "classifier.bias is (5,) in the file and (2,) by config.json" in text
    assert "id2label" in text


def test_a_processor_of_another_size_than_the_model_is_refused(model: Path) -> None:
    file = model / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"size": {"height": 384, "width": 384}}))
    assert "384*384" in refusal(model)


def test_weights_that_give_no_numbers_are_refused_before_anything_is_taken_in(model: Path) -> None:
    file = model / "model.safetensors"
    weights = load_file(file)
    weights["classifier.bias"][0] = torch.nan
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(Fatal, match="tiny-vit gives scores that are not finite numbers, for a black image too"):
        load(ModelSettings(source=str(model), device="cpu"))


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation_internal"])
def test_kernels_of_the_hub_are_code_and_refused(key: str, model: Path) -> None:
    edit(model, inner={key: "kernels-community/flash-attn"})
    assert "asks for code of the hub" in refusal(model)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-1],
        lambda whole: whole[:100],
        lambda whole: whole + b"\0",
        lambda whole: b"",
        lambda whole: whole[:40] + b"\xff" + whole[41:],
        lambda whole: (1 << 62).to_bytes(8, "little") + whole[8:],
        lambda whole: b"version https://git-lfs.github.com/spec/v1\n",
    ],
)
def test_weights_that_are_damaged_or_cut_off_are_named(damage: Any, model: Path) -> None:
    file = model / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    assert "model.safetensors (" in refusal(model)
    assert "is damaged or cut off" in refusal(model)


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00", "[" * 100_000])
def test_a_configuration_that_is_damaged_is_named(content: str, model: Path) -> None:
    (model / "config.json").write_text(content)
    assert "config.json is damaged" in refusal(model)


def test_an_index_names_files_of_the_model_only(model: Path) -> None:
    index = model / "model.safetensors.index.json"
    for part in ("model-00002.safetensors", "../tiny-vit/model.safetensors", "/etc/passwd"):
        index.write_text(json.dumps({"weight_map": {"classifier.weight": part}}))
        assert f"names {part}, which is no file of" in refusal(model)
    index.write_text("{}")
    assert "has no weight_map" in refusal(model)


def test_an_adapter_is_no_model(model: Path) -> None:
    (model / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    assert "is an adapter to another model" in refusal(model)


@pytest.mark.parametrize("head", ["BertForSequenceClassification", "GPT2LMHeadModel", "BertForMaskedLM"])
def test_a_model_with_a_text_head_is_told_from_an_image_classifier(head: str, model: Path) -> None:
    edit(model, architectures=[head], model_type="gpt2" if "GPT2" in head else "bert")
    assert "cannot be loaded as an image classifier" in refusal(model)
    assert head in refusal(model)


@pytest.mark.parametrize(
    ("id2label", "said"),
    [
        (None, "missing or made up"),
        ({str(index): f"LABEL_{index}" for index in range(5)}, "missing or made up"),
        ({"0": "cat", "1": "dog", "3": "owl", "4": "elk", "5": "bee"}, "does not name the labels 0 to 4"),
        ({"0": "cat", "1": "dog", "2": "", "3": "elk", "4": "bee"}, "a label that is no text"),
        ({"0": "cat", "1": 1, "2": "owl", "3": "elk", "4": "bee"}, "a label that is no text"),
    ],
)
def test_labels_that_are_missing_are_one_line(id2label: Any, said: str, model: Path) -> None:
    edit(model, id2label=id2label, label2id=None, num_labels=5 if id2label is None else None)
    assert said in refusal(model)


def test_doubled_labels_are_loaded(model: Path) -> None:
    edit(model, id2label={"0": "crane", "1": "crane", "2": "owl", "3": "elk", "4": "bee"}, label2id=None)
    assert load(ModelSettings(source=str(model), device="cpu")).labels[:2] == ("crane", "crane")
