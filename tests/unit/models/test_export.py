"""Exports: the same scores as torch in any batch, known to the lock by their bytes, and nothing else is run."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from typer.testing import CliRunner

from tests.unit.models import checkpoints, two_towers
from tests.unit.models.exported import export, loaded
from worker.cli import model_export, model_verify
from worker.cli.root import app
from worker.errors import ConfigurationError, Fatal
from worker.models import export as exporting
from worker.models.backends import onnx_export
from worker.models.classifier import Classifier, PixelBatch
from worker.models.load import load, load_known
from worker.models.prepare import fitted
from worker.models.provenance import golden
from worker.models.provenance.lock import read, write
from worker.models.provenance.locking import lock_of
from worker.models.settings import ModelSettings
from worker.testing.contract import ClassifierContract

LABELS = tuple(checkpoints.LABELS.values())


def pixels(classifier: Classifier, count: int = 12) -> PixelBatch:
    return np.stack([np.asarray(fitted(classifier.recipe, image)) for image in checkpoints.images(count)])


def test_an_export_scores_as_torch_does_in_a_batch_of_any_size(exported_vit: Path) -> None:
    torch, ours = loaded(exported_vit, "torch"), loaded(exported_vit)
    expected = torch.predict(pixels(torch))
    assert expected.std(axis=0).max() > 0.03
    for size in (1, 3, 12):
        np.testing.assert_allclose(ours.predict(pixels(ours)[:size]), expected[:size], atol=1e-5)
    assert (ours.labels, ours.recipe) == (torch.labels, torch.recipe)


def test_a_convolution_net_with_several_labels_an_image_is_exported_too(tmp_path: Path) -> None:
    lock = export(tmp_path, "resnet", problem_type="multi_label_classification")
    assert read(lock).exports[0].facts["largest_difference_batch_5"] < 1e-5
    alone = load(ModelSettings(source=str(lock.with_name("resnet.onnx")), device="cpu"))
    torch = load(ModelSettings(source=str(tmp_path / "resnet"), device="cpu"))
    np.testing.assert_allclose(alone.predict(pixels(alone)), torch.predict(pixels(torch)), atol=1e-5)


def test_the_file_is_all_that_another_program_needs(exported_vit: Path) -> None:
    session = onnxruntime.InferenceSession(exported_vit.with_name("vit.onnx"), providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.shape, taken.type) == ("pixels", ["batch", 224, 224, 3], "tensor(uint8)")
    assert (given.name, given.shape, given.type) == ("scores", ["batch", 5], "tensor(float)")
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["image_worker.labels"]) == list(LABELS)
    assert json.loads(said["image_worker.revision"]) == read(exported_vit).revision
    assert json.loads(said["image_worker.licence"])["id"] == "mit"
    torch = loaded(exported_vit, "torch")
    np.testing.assert_allclose(
        session.run(["scores"], {"pixels": pixels(torch)})[0], torch.predict(pixels(torch)), atol=1e-5
    )


def folders_of_labels(root: Path) -> Path:
    """Six images, two in the folder of each of three labels."""
    for number, image in enumerate(checkpoints.images(6)):
        folder = root / LABELS[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{number}.png")
    return root


def test_the_command_makes_the_same_file_again_which_tells_nothing_of_the_machine(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_export, "quiet_logs", lambda _: None)  # it would hold for the tests after this one
    monkeypatch.setattr(exporting, "_RATE_S", 0.0)
    locked = replace(read(elsewhere), source=str(elsewhere.with_name("vit")))
    write(replace(locked, exports=()), elsewhere)
    file = elsewhere.with_name("vit.onnx")
    before = file.read_bytes()
    file.unlink()
    labelled = folders_of_labels(tmp_path / "labelled")
    command = ["model", "export", "--lock", str(elsewhere), "--int8", "--images", str(labelled)]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    assert file.read_bytes() == before
    assert str(Path(onnx.__file__).parent.parent).encode() not in before
    made = read(elsewhere).exports
    assert [export.sha256 for export in made] == [export.sha256 for export in locked.exports]
    lines = [line.split()[0] for line in result.output.splitlines() if not line.startswith(" ")]
    assert lines == [f"{elsewhere.with_name(export.file)}:" for export in made]
    facts = made[1].facts
    assert facts["labelled_images"] == 6
    assert {facts["labelled_top1"], facts["labelled_top1_fp32"]} <= {0.0, 0.1667, 0.3333, 0.5, 0.6667, 0.8333, 1.0}
    assert "labelled top1 agreement" in result.output
    assert "will refuse" not in result.output


def test_an_export_that_a_worker_would_refuse_is_told_of(exported_vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert exporting.refusals(ModelSettings(), read(exported_vit), exported_vit) == []
    monkeypatch.setattr(golden, "REDUCED_TOLERANCE", 1e-6)
    reasons = exporting.refusals(ModelSettings(), read(exported_vit), exported_vit)
    assert [reason.split(":")[0] for reason in reasons] == list(golden.PHOTOGRAPHS)
    with pytest.raises(Fatal, match=r"is not the one that .* locks: astronaut\.png: the score of"):
        loaded(exported_vit, precision="int8")


def test_a_model_is_verified_with_its_exports(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_verify, "quiet_logs", lambda _: None)
    source = f"model.source={elsewhere.with_name('vit')}"
    command = ["--set", source, "--set", "model.device=cpu", "model", "verify", "--lock", str(elsewhere)]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    subjects = [line.split()[1] for line in result.output.splitlines()]
    assert {"vit.onnx", "vit.int8.onnx", "astronaut.png"} <= set(subjects)
    elsewhere.with_name("vit.int8.onnx").write_bytes(b"another")
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 1
    assert [line.split()[1] for line in result.output.splitlines() if line.startswith("differs")] == ["vit.int8.onnx"]


def test_there_is_nothing_to_export_without_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_export, "quiet_logs", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"give --lock FILE, or set model\.lock"):
        CliRunner().invoke(app, ["model", "export"], catch_exceptions=False)
    with pytest.raises(ConfigurationError, match=r"--images measures what --int8 loses"):
        CliRunner().invoke(app, ["model", "export", "--lock", "a", "--images", "b"], catch_exceptions=False)


def test_an_export_whose_scores_are_others_is_not_kept(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = onnx.load(elsewhere.with_name("vit.onnx"))
    monkeypatch.setattr(onnx_export, "graph_of", lambda *_: made)
    monkeypatch.setattr(exporting, "FULL_TOLERANCE", 0.0)
    before = {path.name: path.read_bytes() for path in elsewhere.parent.glob("*.*")}
    locked = replace(read(elsewhere), source=str(elsewhere.with_name("vit")))
    write(locked, elsewhere)
    with pytest.raises(Fatal, match=r"is not the model: in batches of 1 its scores are up to .* from torch's"):
        exporting.export(ModelSettings(), locked, elsewhere)
    assert sorted(before) == sorted(path.name for path in elsewhere.parent.glob("*.*"))
    assert elsewhere.with_name("vit.onnx").read_bytes() == before["vit.onnx"]


def test_int8_says_what_it_loses(exported_vit: Path) -> None:
    fp32, int8 = read(exported_vit).exports
    assert (fp32.precision, fp32.file) == ("fp32", "vit.onnx")
    assert (int8.precision, int8.file) == ("int8", "vit.int8.onnx")
    assert int8.size < fp32.size
    assert int8.facts["images"] == 40
    assert 0.5 < int8.facts["top1_agreement"] <= 1
    assert 0 < int8.facts["largest_difference"] < 0.5
    assert 0 <= int8.facts["largest_difference_by_batch"] < 0.5
    quantised, full = loaded(exported_vit, precision="int8"), loaded(exported_vit)
    assert quantised.identity.precision == "int8"
    assert quantised.identity.fingerprint != full.identity.fingerprint
    difference = np.abs(quantised.predict(pixels(full)) - full.predict(pixels(full))).max()
    assert 0 < difference < 0.5


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_one_changed_byte_of_an_export_is_seen(precision: str, elsewhere: Path) -> None:
    file = elsewhere.with_name("vit.onnx" if precision == "fp32" else "vit.int8.onnx")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(Fatal, match=rf"the export .*{file.name} is not the one that .* locks"):
        loaded(elsewhere, precision=precision)
    file.unlink()
    with pytest.raises(Fatal, match=rf"the export .*{file.name} of the lock .* is missing"):
        loaded(elsewhere, precision=precision)


def test_another_model_under_the_locked_hash_is_found_by_its_golden_outputs(elsewhere: Path) -> None:
    """A lock that somebody gave another file and its hash."""
    file = elsewhere.with_name("vit.onnx")
    other = onnx.load(file)
    head = next(weights for weights in other.graph.initializer if weights.name.endswith("classifier.weight"))
    head.raw_data = (np.frombuffer(head.raw_data, np.float32) * 1.1).tobytes()
    onnx.save(other, file)
    locked = read(elsewhere)
    bytes_of = {"size": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    write(exporting.with_export(locked, replace(locked.exports[0], **bytes_of)), elsewhere)
    with pytest.raises(Fatal, match=r"model vit is not the one that .* locks: astronaut\.png: the score of"):
        loaded(elsewhere)


def test_what_lies_beside_an_export_changes_nothing(elsewhere: Path) -> None:
    before = loaded(elsewhere).identity
    elsewhere.with_name("vit.toml").write_text('labels = ["another"]')
    elsewhere.with_name("vit.txt").write_text("another")
    assert loaded(elsewhere).identity == before


def test_without_a_lock_or_an_export_the_way_to_one_is_told(elsewhere: Path) -> None:
    source = str(elsewhere.with_name("vit"))
    with pytest.raises(ConfigurationError, match=r"model\.lock is unset: run `image-worker model lock`"):
        load(ModelSettings(source=source, runtime="onnx", device="cpu"))
    with pytest.raises(ConfigurationError, match=r"exports are in fp32 or int8"):
        loaded(elsewhere, precision="bf16")
    with pytest.raises(ConfigurationError, match=r"`int8`, which only ONNX Runtime has"):
        loaded(elsewhere, "torch", precision="int8")
    write(replace(read(elsewhere), exports=()), elsewhere)
    with pytest.raises(ConfigurationError, match=r"has no export in int8: run `image-worker model export .*--int8`"):
        loaded(elsewhere, precision="int8")


def test_a_zero_shot_model_has_no_export(tmp_path: Path) -> None:
    directory = two_towers.save("clip", tmp_path / "clip")
    zero_shot = {"source": str(directory), "labels": LABELS, "device": "cpu", "licence_accepted": "us, now, a test"}
    with pytest.raises(ConfigurationError, match="is zero-shot, and its labels come from the settings"):
        load(ModelSettings(**zero_shot, runtime="onnx"))
    lock = tmp_path / "clip.lock.toml"
    write(lock_of(str(directory), ModelSettings(device="cpu")), lock)
    with pytest.raises(ConfigurationError, match="cannot be exported: it is an ONNX file already, or zero-shot"):
        exporting.export(ModelSettings(**zero_shot), read(lock), lock)


def test_an_export_is_a_model_of_its_own_and_is_locked_as_one(exported_vit: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(exported_vit.with_name("vit.int8.onnx"), tmp_path / "small.onnx"))
    lock = tmp_path / "small.lock.toml"
    write(lock_of(str(file), ModelSettings(device="cpu")), lock)
    assert read(lock).licence.id == "mit"
    known = load_known(ModelSettings(lock=lock, device="cpu"))
    assert (known.classifier.identity.name, known.classifier.identity.precision) == ("small", "int8")
    assert known.classifier.labels == LABELS
    with pytest.raises(ConfigurationError, match="cannot be exported: it is an ONNX file already"):
        exporting.export(ModelSettings(), read(lock), lock)


class TestAnExport(ClassifierContract):
    @pytest.fixture
    def classifier(self, exported_vit: Path) -> Classifier:
        return loaded(exported_vit)


class TestAnExportInInt8(ClassifierContract):
    # Dynamic quantisation takes its scale from the whole batch: an image's scores depend on its company.
    tolerance = 0.1

    @pytest.fixture
    def classifier(self, exported_vit: Path) -> Classifier:
        return loaded(exported_vit, precision="int8")
