"""Models of a hub, in a process of their own each: huggingface_hub reads its endpoint when it is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.models import checkpoints, hub

_LOCATE = """
import json, sys
from worker.errors import Fatal
from worker.models.provenance.files import locate
try:
    files = locate(sys.argv[1])
    names = sorted(path.name for path in files.directory.iterdir())
    print(json.dumps({"name": files.name, "revision": files.revision, "files": names}))
except Fatal as error:
    print(json.dumps({"kind": type(error).__name__, "said": str(error)}))
"""


def locate(source: str, endpoint: str, cache: Path) -> Any:
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-c", _LOCATE, source]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = checkpoints.save("vit", tmp_path_factory.mktemp("hub"))
    (directory / "pytorch_model.bin").write_bytes(b"never fetched")
    with hub.serve(directory) as address:
        yield address


@pytest.mark.parametrize("source", [hub.NAME, f"{hub.NAME}@main"])
def test_a_branch_is_refused_with_what_it_names_now(source: str, endpoint: str, tmp_path: Path) -> None:
    answer = locate(source, endpoint, tmp_path)
    assert answer["kind"] == "ConfigurationError"
    assert f"write `{hub.NAME}@{hub.REVISION}`" in answer["said"]


def test_a_pinned_revision_is_fetched_without_what_is_not_needed(endpoint: str, tmp_path: Path) -> None:
    answer = locate(f"{hub.NAME}@{hub.REVISION}", endpoint, tmp_path)
    assert (answer["name"], answer["revision"]) == (hub.NAME, hub.REVISION)
    assert answer["files"] == ["config.json", "model.safetensors", "preprocessor_config.json"]


def test_a_revision_that_is_here_needs_no_hub(endpoint: str, tmp_path: Path) -> None:
    source = f"{hub.NAME}@{hub.REVISION}"
    first = locate(source, endpoint, tmp_path)
    assert locate(source, "http://127.0.0.1:9", tmp_path) == first


def test_a_revision_that_is_not_there_stops_with_one_line(endpoint: str, tmp_path: Path) -> None:
    answer = locate(f"{hub.NAME}@{'f' * 40}", endpoint, tmp_path)
    assert answer["kind"] == "Fatal"
    assert "cannot be fetched" in answer["said"]
    assert "\n" not in answer["said"]


def test_a_hub_that_is_down_does_not_hide_that_the_source_is_not_pinned(tmp_path: Path) -> None:
    answer = locate(hub.NAME, "http://127.0.0.1:9", tmp_path)
    assert answer["kind"] == "ConfigurationError"
    assert "40 hex digits of a revision" in answer["said"]
