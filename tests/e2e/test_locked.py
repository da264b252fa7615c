"""A worker with a lock: it starts with the model that was tested, says so, and joins no group with another."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from structlog.typing import EventDict

from tests.cli import image_worker
from tests.clusters import Cluster, event
from tests.unit.models import checkpoints
from tests.workers import until
from worker.app import Worker
from worker.models.provenance.lock import write
from worker.models.provenance.locking import lock_of
from worker.models.settings import ModelSettings
from worker.settings import Settings

WHO = "legal, 2026-11-24, for the trial"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, `tiny-vit`, and its lock, `lock.toml`."""
    folder = tmp_path_factory.mktemp("locked")
    write(lock_of(str(checkpoints.save("vit", folder / "tiny-vit")), ModelSettings(device="cpu")), folder / "lock.toml")
    return folder


def flags(folder: Path) -> list[str]:
    locked = [f"model.source={folder / 'tiny-vit'}", f"model.lock={folder / 'lock.toml'}", "model.device=cpu"]
    return [*locked, f"model.licence_accepted={WHO}"]


async def provenance(settings: Settings, logs: list[EventDict]) -> Any:
    """Starts a worker and stops it; what its /status said of the model in between."""
    worker = Worker(settings)
    task = asyncio.create_task(worker.run())
    try:
        await until(lambda: task.done() or any(line["event"] == "worker.started" for line in logs), "it has started")
        return worker.status()["provenance"]
    finally:
        worker.stop()
        await task


async def test_a_locked_model_starts_and_says_who_accepted_its_licence(
    embedded: Cluster, saved: Path, logs: list[EventDict]
) -> None:
    known = await provenance(embedded.settings(embedded.topics(), *flags(saved)), logs)
    assert known == {
        "source": str(saved / "tiny-vit"),
        "lock": str(saved / "lock.toml"),
        "licence": "unknown",
        "licence_accepted": WHO,
    }
    said = {line["event"]: line for line in logs}
    assert said["model.verified"]["lock"] == str(saved / "lock.toml")
    assert said["model.licence_accepted"]["accepted"] == WHO
    assert "model.not_locked" not in said


async def test_a_model_without_a_lock_starts_with_a_warning(
    embedded: Cluster, saved: Path, logs: list[EventDict]
) -> None:
    known = await provenance(embedded.settings(embedded.topics(), *flags(saved)[::2]), logs)
    assert known["lock"] is None
    (warning,) = [line for line in logs if line["event"] == "model.not_locked"]
    assert (warning["log_level"], warning["source"]) == ("warning", str(saved / "tiny-vit"))


def test_a_changed_model_is_refused_before_the_group_is_joined(embedded: Cluster, saved: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(saved, tmp_path / "changed"))
    weights = changed / "tiny-vit" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    config = changed / "tiny-vit" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_attention_heads": 2}))
    topics = embedded.topics()
    embedded.produce(topics.input, [event(0)])
    words = [word for flag in embedded.flags(topics, *flags(changed)) for word in ("--set", flag)]
    process = image_worker(*words, "run")
    assert process.returncode == 1
    output = process.stderr.decode()
    first, second = [line for line in output.splitlines() if "is not the one that" in line]
    assert "config.json" in first
    assert "model.safetensors" in second
    assert "worker.started" not in output
    assert embedded.committed(topics) == {}
