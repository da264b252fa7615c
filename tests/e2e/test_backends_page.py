"""docs/backends.md is run: its backend is installed, named in the settings, and held against its own tests."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.cli import environment
from tests.clusters import jpeg

PAGE = Path(__file__).parents[2] / "docs" / "backends.md"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's files, and the metadata that pip writes when it installs them."""
    folder = tmp_path_factory.mktemp("site")
    blocks = dict(re.findall(r"`([\w.]+)`[^`]*:\n\n```\w+\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    for name in ("brightness.py", "test_brightness.py"):
        (folder / name).write_text(blocks[name])
    project = tomllib.loads(blocks["pyproject.toml"])["project"]
    metadata = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1\n")
    (group, names) = next(iter(project["entry-points"].items()))
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in names.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    return folder


def run(site: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        env=environment(PYTHONPATH=str(site)),
        cwd=site,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_its_backend_classifies_images(site: Path) -> None:
    (site / "photo.jpg").write_bytes(jpeg(230))
    done = run(site, "worker", "--set", "model.runtime=brightness", "classify", "--json", "photo.jpg")
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["label"] == "bright"
    assert verdict["score"] == pytest.approx(0.9, abs=0.05)


def test_its_backend_keeps_the_contract_by_its_own_tests(site: Path) -> None:
    done = run(site, "pytest", "-q", "-p", "no:cacheprovider", "test_brightness.py")
    assert done.returncode == 0, done.stdout
    assert re.search(r"^1\d passed", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["model.runtime=britghness"], r"there is no 'britghness': write torch, onnx, auto, or .*\(brightness\)"),
        (["model.runtime=brightness", "model.lock=a.toml"], r"model\.lock: a lock holds files that this package loads"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(flags: list[str], said: str, site: Path) -> None:
    done = run(site, "worker", *(word for flag in flags for word in ("--set", flag)), "classify", "photo.jpg")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert re.search(said, line)
