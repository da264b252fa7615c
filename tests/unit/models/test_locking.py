"""A model and its lock: one changed byte of anything is seen and named, before anything of it is parsed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.models import checkpoints
from worker.errors import ConfigurationError, Fatal
from worker.models.classifier import Classifier
from worker.models.load import load, load_known
from worker.models.provenance.lock import Export, Licence, Lock, read, write
from worker.models.provenance.locking import doubled, lock_of, with_exports_of
from worker.models.provenance.verify import of_model
from worker.models.settings import ModelSettings

CARD = "---\nlicense: mit\nbase_model: google/vit-base-patch16-224\n---\n# A tiny ViT\n"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = checkpoints.save("vit", tmp_path_factory.mktemp("locking") / "tiny-vit")
    (directory / "README.md").write_text(CARD)
    (directory / "tokenizer.json").write_text('{"version": "1.0"}')
    (directory / "merges.txt").write_text("a b\nc d\n")
    (directory / "spiece.model").write_bytes(b"pieces")
    (directory / "training.log").write_text("is not used")
    return directory


@pytest.fixture(scope="module")
def lock(saved: Path) -> Lock:
    return lock_of(str(saved), ModelSettings(device="cpu"))


@pytest.fixture(scope="module")
def classifier(saved: Path) -> Classifier:
    return load(ModelSettings(source=str(saved), device="cpu"))


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "elsewhere"))


@pytest.fixture
def start(lock: Lock, model: Path, tmp_path: Path) -> Callable[..., Any]:
    """Loads the model against the lock, with changes to the lock and the settings."""

    def started(edited: Lock = lock, **settings: Any) -> Any:
        file = tmp_path / "tiny-vit.lock.toml"
        write(edited, file)
        return load_known(ModelSettings(**{"source": str(model), "lock": file, "device": "cpu", **settings}))

    return started


def turn_a_bit(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])


def test_a_lock_has_all_that_a_reviewer_asks_for(lock: Lock, saved: Path, tmp_path: Path) -> None:
    write(lock, tmp_path / "lock.toml")
    assert read(tmp_path / "lock.toml") == lock
    assert (lock.source, lock.name, lock.revision) == (str(saved), "tiny-vit", lock.revision)
    assert lock.architecture == "ViTForImageClassification"
    assert (lock.licence.id, lock.base_models) == ("mit", ("google/vit-base-patch16-224",))
    assert lock.labels == tuple(checkpoints.LABELS.values())
    assert {file.name for file in lock.files} == {
        *("README.md", "config.json", "merges.txt", "model.safetensors", "preprocessor_config.json"),
        *("spiece.model", "tokenizer.json"),
    }
    assert len({golden.scores for golden in lock.golden}) == 4
    assert {"torch", "transformers", "pillow"} < lock.versions.keys()


def test_the_same_bytes_start_and_are_the_same_model_wherever_they_lie(start: Any, lock: Lock) -> None:
    loaded = start()
    assert (loaded.classifier.identity.name, loaded.classifier.identity.revision) == ("tiny-vit", lock.revision)
    assert loaded.provenance.licence == "mit"
    assert loaded.provenance.licence_accepted is None
    assert loaded.provenance.lock.endswith("tiny-vit.lock.toml")


@pytest.mark.parametrize(
    "name",
    [
        *("model.safetensors", "config.json", "preprocessor_config.json", "tokenizer.json", "merges.txt"),
        *("spiece.model", "README.md"),
    ],
)
def test_one_changed_byte_of_any_file_is_seen_and_named_before_it_is_parsed(name: str, start: Any, model: Path) -> None:
    turn_a_bit(model / name)
    with pytest.raises(Fatal) as caught:
        start()
    (line,) = str(caught.value).splitlines()
    assert line.startswith("model tiny-vit is not the one that ")
    assert f": {name}: has other bytes: sha256 " in line


def test_a_file_more_or_less_or_shorter_is_seen(start: Any, model: Path) -> None:
    (model / "processor_config.json").write_text("{}")
    (model / "merges.txt").unlink()
    (model / "tokenizer.json").write_text("{")
    (model / "training.log").unlink()
    with pytest.raises(Fatal) as caught:
        start()
    merges, processor, tokenizer = str(caught.value).splitlines()
    assert "merges.txt: is in the lock, and not in" in merges
    assert "processor_config.json: is in " in processor
    assert "tokenizer.json: has 18 bytes in the lock, 1 here" in tokenizer


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lock: replace(lock, licence=Licence("apache-2.0")), "licence: is apache-2.0 in the lock, mit here"),
        (lambda lock: replace(lock, base_models=()), "base models: is none in the lock, google/vit"),
        (lambda lock: replace(lock, architecture="ResNet"), "architecture: is ResNet in the lock, ViTForImage"),
        (lambda lock: replace(lock, revision="0" * 64), f"revision: is {'0' * 64} in the lock, .* here"),
        (
            lambda lock: replace(lock, source=f"a/b@{'1' * 40}", name="a/b", revision="2" * 40),
            f"source: is a/b@{'1' * 40} in the lock, a/b@{'2' * 40} here",
        ),
    ],
)
def test_a_lock_that_states_something_else_than_the_files_is_seen(
    change: Any, said: str, start: Any, lock: Lock
) -> None:
    with pytest.raises(Fatal, match=said):
        start(change(lock))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda lock: replace(lock, labels=("dog", "cat", *lock.labels[2:])),
            r"labels: label 0 is 'dog' in the lock, 'cat' here \(and 1 more\)",
        ),
        (lambda lock: replace(lock, recipe=replace(lock.recipe, resample=3)), "recipe.resample: is 3 in the lock, 2"),
        (
            lambda lock: replace(lock, golden=(moved(lock.golden[0], 2e-4), *lock.golden[1:])),
            "astronaut.png: the score of '.*' is .* in the lock, .* here: more than 0.0001 apart",
        ),
        (
            lambda lock: replace(lock, golden=(replace(lock.golden[0], sha256="0" * 64), *lock.golden[1:])),
            "astronaut.png: is another photograph",
        ),
        (lambda lock: replace(lock, golden=lock.golden[1:]), "astronaut.png: is not in the lock"),
    ],
)
def test_a_lock_that_states_something_else_than_the_model_is_seen(
    change: Any, said: str, lock: Lock, classifier: Classifier
) -> None:
    (finding,) = [finding for finding in of_model(change(lock), classifier) if not finding.ok]
    assert re.search(said, f"{finding.subject}: {finding.text}")


def moved(golden: Any, by: float) -> Any:
    return replace(golden, scores=(golden.scores[0] + by, *golden.scores[1:]))


def test_scores_within_the_tolerance_and_other_versions_start(start: Any, lock: Lock) -> None:
    near = tuple(moved(golden, 5e-5) for golden in lock.golden)
    assert start(replace(lock, golden=near, versions={"torch": "1.0"})).provenance.lock


def test_scores_that_moved_name_the_versions_that_did(start: Any, lock: Lock) -> None:
    far = tuple(moved(golden, 1e-3) for golden in lock.golden)
    with pytest.raises(Fatal, match=r"locked with torch 1\.0, here 2\.") as caught:
        start(replace(lock, golden=far, versions={"torch": "1.0"}))
    assert len(str(caught.value).splitlines()) == 4


def test_a_lower_precision_has_a_tolerance_of_its_own(start: Any, lock: Lock) -> None:
    assert start(precision="bf16").classifier.identity.precision == "bf16"
    swapped = tuple(replace(golden, scores=golden.scores[::-1]) for golden in lock.golden)
    with pytest.raises(Fatal, match=r"more than 0\.1 apart"):
        start(replace(lock, golden=swapped), precision="bf16")


def test_a_licence_that_is_not_on_the_list_needs_a_written_acceptance(start: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"licence mit, which is not in model\.licences.*licence_accepted"):
        start(licences=("apache-2.0",))
    loaded = start(licences=("apache-2.0",), licence_accepted="legal, 2026-11-24, internal use")
    assert loaded.provenance.licence_accepted == "legal, 2026-11-24, internal use"
    assert start(licences=("MIT",)).provenance.licence_accepted is None


def test_a_licence_that_is_unknown_needs_one_too(start: Any, model: Path) -> None:
    (model / "README.md").unlink()
    unknown = lock_of(str(model), ModelSettings(device="cpu"))
    assert unknown.licence == Licence("unknown")
    with pytest.raises(ConfigurationError, match="licence unknown"):
        start(unknown, licences=("mit", "unknown"))


def test_without_a_source_the_lock_names_it_and_two_models_of_the_hub_disagree(start: Any, lock: Lock) -> None:
    assert start(source=None).provenance.source == lock.source
    hub = from_the_hub(lock)
    with pytest.raises(ConfigurationError, match=r"model\.source is .*2, but .* locks .*1: leave model\.source out"):
        start(hub, source=f"someone/tiny-vit@{'2' * 40}")


def test_a_directory_with_the_hubs_bytes_is_the_hubs_model(
    start: Any, lock: Lock, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    model.rename(tmp_path / "models" / "mine")
    identity = start(from_the_hub(lock), source="models/mine").classifier.identity
    assert (identity.name, identity.revision) == ("someone/tiny-vit", "1" * 40)


def from_the_hub(lock: Lock) -> Lock:
    name, revision = "someone/tiny-vit", "1" * 40
    return replace(lock, source=f"{name}@{revision}", name=name, revision=revision)


def test_exports_stay_with_the_files_that_they_were_made_of(lock: Lock) -> None:
    old = replace(lock, exports=(Export("tiny.onnx", 7, "e" * 64, "fp32"),))
    assert with_exports_of(old, lock).exports == old.exports
    assert with_exports_of(old, replace(lock, files=lock.files[1:])).exports == ()


def test_doubled_labels_are_named(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["id2label"]["3"] = "cat"
    (model / "config.json").write_text(json.dumps(config))
    assert doubled(lock_of(str(model), ModelSettings(device="cpu")).labels) == ["cat"]
