"""A file of labels is followed: what can be used takes effect, what cannot is refused and said."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from worker.errors import ConfigurationError
from worker.models.classifier import Classifier
from worker.observe.metrics import Metrics
from worker.policy import PolicySettings
from worker.records import ModelIdentity
from worker.relabelling import Relabelling
from worker.testing import FreeClassifier


class Model(FreeClassifier):
    """Notes what it is asked to have; a label `too long` does not fit it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, ...]] = []

    def relabel(self, labels: Sequence[str]) -> ModelIdentity:
        if "too long" in labels:
            raise ConfigurationError("model.labels: too long")
        self.asked.append(tuple(labels))
        return replace(self.identity, labels_version=f"version {len(self.asked)}")

    def about(self, labels: Sequence[str]) -> Classifier:
        return self


class Scene:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "labels.txt"
        self.file.write_text("cat\ndog\n")
        self.model, self.metrics = Model(), Metrics()
        policy = PolicySettings(thresholds={"cat": {"block": 0.5}})
        self.following = Relabelling(self.file, self.model, policy, self.metrics)

    async def settle(self) -> None:
        """Two looks: the first sees a change, the second that it stood still."""
        await self.following.look()
        await self.following.look()

    @property
    def refused(self) -> float | None:
        return self.metrics.registry.get_sample_value("image_worker_labels_refused")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_a_file_that_stays_as_it_is_changes_nothing(scene: Scene) -> None:
    await scene.settle()
    assert scene.model.asked == []


async def test_what_is_written_takes_effect_once(scene: Scene) -> None:
    scene.file.write_text("cat\nowl\nelk\n")
    await scene.settle()
    await scene.settle()
    assert scene.model.asked == [("cat", "owl", "elk")]
    info = {"name": "free", "revision": "0" * 40, "fingerprint": "f" * 64, "runtime": "numpy", "precision": "fp32"}
    value = scene.metrics.registry.get_sample_value
    assert value("image_worker_model_info", info | {"labels_version": "version 1"}) == 1


async def test_a_file_that_still_changes_is_waited_for(scene: Scene) -> None:
    scene.file.write_text("cat\n")
    await scene.following.look()
    scene.file.write_text("cat\nowl\n")
    await scene.following.look()
    assert scene.model.asked == []
    await scene.following.look()
    assert scene.model.asked == [("cat", "owl")]


async def test_a_file_that_is_put_in_its_place_by_a_rename_is_seen(scene: Scene) -> None:
    before = scene.file.stat()
    fresh = scene.file.with_name("fresh.txt")
    fresh.write_text("cat\nelk\n")
    os.utime(fresh, ns=(before.st_atime_ns, before.st_mtime_ns))
    fresh.rename(scene.file)
    await scene.settle()
    assert scene.model.asked == [("cat", "elk")]


@pytest.mark.parametrize("content", ["", "cat\ncat\n", "owl\n", "cat\ntoo long\n"])
async def test_what_cannot_be_used_is_refused_until_the_file_is_mended(content: str, scene: Scene) -> None:
    scene.file.write_text(content)
    await scene.settle()
    assert (scene.model.asked, scene.refused) == ([], 1)
    scene.file.write_text("cat\nowl\n")
    await scene.settle()
    assert (scene.model.asked, scene.refused) == ([("cat", "owl")], 0)


async def test_a_file_that_goes_leaves_the_labels_as_they_are(scene: Scene) -> None:
    scene.file.unlink()
    await scene.settle()
    assert (scene.model.asked, scene.refused) == ([], 0)
    scene.file.write_text("cat\nowl\n")
    await scene.settle()
    assert scene.model.asked == [("cat", "owl")]
