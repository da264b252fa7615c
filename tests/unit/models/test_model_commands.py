"""`image-worker model lock` and `model verify`, on a small model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.models import checkpoints, two_towers
from worker.cli import model_lock, model_verify
from worker.cli.root import app
from worker.errors import ConfigurationError
from worker.models.provenance.lock import read

DOUBLED = dict(enumerate(("cat", "crane", "crane", "owl", "bee", "elk", "dog")))
"""More labels than the pipeline shows by itself."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = checkpoints.save("vit", tmp_path_factory.mktemp("commands") / "tiny-vit", id2label=DOUBLED)
    (directory / "README.md").write_text("---\nlicense: mit\n---\n")
    return directory


@pytest.fixture
def model(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for command in (model_lock, model_verify):
        monkeypatch.setattr(command, "quiet_logs", lambda _: None)  # it would hold for the tests after this one
    return Path(shutil.copytree(saved, tmp_path / "tiny-vit"))


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["--set", "model.device=cpu", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def rename_a_label(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["id2label"]["0"] = "tiger"
    (model / "config.json").write_text(json.dumps(config))


def test_a_lock_is_written_once_and_never_silently_over(model: Path) -> None:
    code, output = run("model", "lock", "tiny-vit")
    assert code == 0
    assert "licence: mit" in output
    assert "a threshold holds for each: crane" in output
    first = read(Path("tiny-vit.lock.toml"))
    assert run("model", "lock", "tiny-vit") == (0, "tiny-vit.lock.toml: nothing changed\n")

    rename_a_label(model)
    code, output = run("model", "lock", "tiny-vit")
    assert code == 1
    assert "label 0" in output
    assert "tiger" in output
    assert "file config.json" in output
    assert read(Path("tiny-vit.lock.toml")) == first

    code, _ = run("model", "lock", "tiny-vit", "--update")
    assert code == 0
    assert read(Path("tiny-vit.lock.toml")).labels[0] == "tiger"


def test_a_model_is_verified_by_hand_and_beside_transformers(model: Path) -> None:
    run("model", "lock", "tiny-vit", "--output", "my.toml")
    code, output = run("model", "verify", "--lock", "my.toml", "--reference")
    assert code == 0
    lines = output.splitlines()
    assert {line.split()[0] for line in lines[:-5]} == {"ok"}
    subjects = ["README.md", "config.json", "model.safetensors", "preprocessor_config.json", "revision"]
    subjects += ["licence", "base models", "architecture", "licence accepted", "labels", "recipe"]
    subjects += [f"{name}.png" for name in ("astronaut", "chelsea", "coffee", "rocket")]
    assert [line[9:35].strip() for line in lines[:-5]] == subjects
    assert lines[-5].split("  ")[0] == "photograph"
    differences = [float(line.split()[-1]) for line in lines[-4:]]
    assert max(differences) < 1e-5

    rename_a_label(model)
    code, output = run("--set", "model.lock=my.toml", "model", "verify")
    assert code == 1
    assert [line[9:35].strip() for line in output.splitlines() if line.startswith("differs")] == ["config.json"]


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_zero_shot_model_is_verified_whatever_it_is_asked_for(kind: str, model: Path) -> None:
    directory = str(two_towers.save(kind, model.with_name(kind)))
    assert run("model", "lock", directory, "--output", "zero.toml")[0] == 0
    asked = ("model.labels=['a dog']", "model.templates=['{}', 'no {}']", "model.licence_accepted=me, now, a test")
    flags = [word for flag in asked for word in ("--set", flag)]
    code, output = run(*flags, "model", "verify", "--lock", "zero.toml", "--reference")
    assert code == 0, output
    differences = [float(line.split()[-1]) for line in output.splitlines()[-4:]]
    assert max(differences) < 1e-4


def test_a_licence_that_nobody_accepted_is_a_finding(model: Path) -> None:
    run("model", "lock", "tiny-vit", "--output", "my.toml")
    code, output = run("--set", "model.licences=['isc']", "model", "verify", "--lock", "my.toml")
    assert code == 1
    assert "differs  licence accepted" in output
    assert "ok       astronaut.png" in output, "its files are the same, so its scores are compared all the same"


def test_there_is_nothing_to_verify_without_a_lock(model: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"give --lock FILE, or set model\.lock"):
        run("model", "verify")
