"""A small ViT with its exports, which take seconds: made once for all tests of models."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.models import exported


@pytest.fixture(scope="session")
def exported_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lock of a small ViT with exports in fp32 and int8. Not to be changed."""
    return exported.export(tmp_path_factory.mktemp("exported"), "vit", int8=True, num_hidden_layers=1)


@pytest.fixture
def elsewhere(exported_vit: Path, tmp_path: Path) -> Path:
    """A copy of that lock, model, exports and all, that may be changed."""
    shutil.copytree(exported_vit.parent, tmp_path / "models")
    return tmp_path / "models" / exported_vit.name
