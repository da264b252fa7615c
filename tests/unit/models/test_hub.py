"""Models of a hub, in processes of their own: huggingface_hub reads its endpoint when it is imported."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.unit.models import checkpoints, hub
from tests.unit.models.hub import NAME, REVISION, Model
from worker.models.provenance.lock import read

LATER = "f" * 40
PINNED = f"{NAME}@{REVISION}"
NOWHERE = "http://127.0.0.1:9"

_LOCK = """
import sys
from typer.testing import CliRunner
from worker.cli.main import COMMAND_GROUPS
from worker.cli.root import app
for source in sys.argv[1:]:
    words = ["--set", "model.device=cpu", "model", "lock", source, "--output", "lock.toml"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    print(done.output)
    print("exit code", done.exit_code, flush=True)
"""
_ASK = """
import json, os, sys
from worker.errors import Fatal
from worker.models.provenance import hub
from worker.models.provenance.files import locate, pinned
hub.ANSWER_S, hub.SILENCE_S, hub.PATIENCE_S = 0.5, 1.5, 3.0
for question in sys.argv[1:]:
    what, source = question.split(":", 1)
    try:
        if what == "pinned":
            answer = {"source": pinned(source)}
        else:
            files = locate(source)
            names = {file.name: file.sha256 for file in files.files}
            answer = {"name": files.name, "revision": files.revision, "files": names}
    except Fatal as error:
        answer = {"kind": type(error).__name__, "said": str(error)}
    print("answer", json.dumps(answer), flush=True)
os._exit(0)  # threads that wait for a hub which hangs would be waited for
"""


def python(program: str, *words: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"} | variables
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=120, check=True)


def ask(endpoint: str, cache: Path, *questions: str, **variables: str) -> list[Any]:
    """The answers to questions `pinned:SOURCE` and `locate:SOURCE`, from one process."""
    done = python(_ASK, *questions, HF_ENDPOINT=endpoint, HF_HOME=str(cache), **variables)
    assert done.stderr == ""
    lines = (line.partition("answer ") for line in done.stdout.splitlines())
    answers = [json.loads(after) for before, mark, after in lines if mark and not before]
    assert len(answers) == len(questions), done.stdout
    assert not any("\n" in answer.get("said", "") for answer in answers)
    return answers


@dataclass
class Served:
    endpoint: str
    models: dict[str, Model]
    cache: Path

    def ask(self, *questions: str, **variables: str) -> list[Any]:
        return ask(self.endpoint, self.cache, *questions, **variables)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = checkpoints.save("vit", tmp_path_factory.mktemp("hub") / "first")
    (directory / "pytorch_model.bin").write_bytes(b"never fetched")
    (directory / "README.md").write_text("---\nlicense: mit\n---\n")
    return directory


@pytest.fixture
def served(saved: Path, tmp_path: Path) -> Iterator[Served]:
    later = Path(shutil.copytree(saved, tmp_path / "later"))
    (later / "README.md").write_text("---\nlicense: other\n---\n")
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "pytorch_model.bin").write_bytes(b"never fetched")
    shutil.copy(saved / "config.json", pickled)
    models = {NAME: Model({REVISION: saved, LATER: later}), "someone/pickled": Model({REVISION: pickled})}
    with hub.serve(models) as endpoint:
        yield Served(endpoint, models, tmp_path / "cache")


def test_a_branch_is_refused_with_what_it_names_now_and_it_may_move(served: Served) -> None:
    first, same, pinned = served.ask(f"locate:{NAME}", f"locate:{NAME}@main", f"pinned:{NAME}")
    assert first["kind"] == same["kind"] == "ConfigurationError"
    assert f"write `{PINNED}`" in first["said"]
    assert pinned["source"] == PINNED
    served.models[NAME].main = LATER
    (pinned,) = served.ask(f"pinned:{NAME}@main")
    assert pinned["source"] == f"{NAME}@{LATER}"


def test_a_pinned_revision_is_fetched_without_what_is_not_needed_and_then_needs_no_hub(served: Served) -> None:
    (fetched,) = served.ask(f"locate:{PINNED}")
    assert (fetched["name"], fetched["revision"]) == (NAME, REVISION)
    assert set(fetched["files"]) == {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"}
    assert ask(NOWHERE, served.cache, f"locate:{PINNED}") == [fetched]
    assert ask(NOWHERE, served.cache, f"locate:{PINNED}", HF_HUB_OFFLINE="1") == [fetched]
    shutil.rmtree(next(served.cache.glob("hub/models--*/trees")))  # as in a cache that was copied here by hand
    assert ask(NOWHERE, served.cache, f"locate:{PINNED}") == [fetched]


def test_a_cache_that_misses_a_file_is_made_whole(served: Served) -> None:
    (fetched,) = served.ask(f"locate:{PINNED}")
    next(served.cache.glob("hub/models--*/snapshots/*/preprocessor_config.json")).unlink()
    (offline,) = ask(NOWHERE, served.cache, f"locate:{PINNED}", HF_HUB_OFFLINE="1")
    assert "cannot be fetched" in offline["said"]
    assert served.ask(f"locate:{PINNED}") == [fetched]


def test_a_file_that_changes_under_a_pinned_revision_has_another_digest(served: Served, saved: Path) -> None:
    (first,) = served.ask(f"locate:{PINNED}")
    changed = saved.with_name("changed")
    shutil.copytree(saved, changed)
    weights = changed / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    served.models[NAME].revisions[REVISION] = changed
    (second,) = ask(served.endpoint, served.cache / "fresh", f"locate:{PINNED}")
    assert second["revision"] == first["revision"]
    assert {name for name in first["files"] if first["files"][name] != second["files"][name]} == {"model.safetensors"}


def test_what_the_hub_does_not_have_is_one_line(served: Served) -> None:
    no_revision, no_model, pickled = served.ask(
        f"locate:{NAME}@{'a' * 40}", f"locate:someone/else@{REVISION}", f"locate:someone/pickled@{REVISION}"
    )
    for answer in (no_revision, no_model):
        assert answer["kind"] == "Fatal"
        assert "cannot be fetched" in answer["said"]
    assert "no safetensors weights" in pickled["said"]


@pytest.mark.parametrize(
    ("manner", "why"),
    [
        ("hangs", "timed out"),
        ("hangs over files", "the hub answers nothing"),
        ("drips", "the hub answers too slowly"),
        ("fails", "500"),
    ],
)
def test_a_hub_in_trouble_ends_in_one_line(manner: Any, why: str, served: Served) -> None:
    served.models[NAME].manner = manner
    (located,) = served.ask(f"locate:{PINNED}", HF_HUB_ETAG_TIMEOUT="1", HF_HUB_DOWNLOAD_TIMEOUT="1")
    assert located["kind"] == "Fatal"
    assert f"model {PINNED} cannot be fetched (" in located["said"]
    assert why in located["said"]


def test_a_hub_that_is_down_or_not_to_be_asked_ends_in_one_line(tmp_path: Path) -> None:
    located, pinned, branch = ask(NOWHERE, tmp_path, f"locate:{PINNED}", f"pinned:{NAME}", f"locate:{NAME}")
    assert "cannot be fetched" in located["said"]
    assert "refused" in located["said"]
    assert "the hub did not say" in pinned["said"]
    assert branch["kind"] == "ConfigurationError"
    assert "40 hex digits of a revision" in branch["said"]
    (offline,) = ask(NOWHERE, tmp_path, f"locate:{PINNED}", HF_HUB_OFFLINE="1")
    assert "cannot be fetched" in offline["said"]


def test_a_lock_follows_a_branch_that_moved_and_shows_what_changed(served: Served, tmp_path: Path) -> None:
    model = served.models[NAME]
    model.main = LATER
    done = python(_LOCK, PINNED, PINNED, NAME, cwd=tmp_path, HF_ENDPOINT=served.endpoint, HF_HOME=str(served.cache))
    first, again, second, _ = re.split(r"exit code \d", done.stdout)
    assert re.findall(r"exit code (\d)", done.stdout) == ["0", "0", "1"]
    assert "licence: mit" in first
    assert "nothing changed" in again
    rows = {line.split()[0]: line.split()[1:] for line in second.splitlines() if line.strip()}
    assert rows["revision"] == [REVISION, LATER]
    assert rows["licence.id"] == ["mit", "other"]
    assert "README.md" in second
    assert "label" not in rows
    lock = read(tmp_path / "lock.toml")
    assert (lock.source, lock.name, lock.revision) == (PINNED, NAME, REVISION)
    assert len(model.asked) == len(set(model.asked)), "what is here is not asked for again, by nobody"
    files = {path.rpartition("/")[2] for path in model.asked if f"/{NAME}/resolve/" in path}
    assert files == {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"}
