"""The worker with real torch models that run out of memory, give no numbers, or get other labels while it runs."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from confluent_kafka import Message

from tests.clusters import PATIENCE_S, Cluster, Topics, event, header
from tests.unit.models import checkpoints, two_towers
from tests.workers import running, until
from worker.app import Worker
from worker.errors import Fatal
from worker.models.backends.torch import TorchClassifier
from worker.models.load import load
from worker.models.settings import ModelSettings

KAFKA = "kafka.group_protocol=consumer"
Forward = Callable[[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]], torch.Tensor]


def model(directory: Path, forward: Forward) -> TorchClassifier:
    """A real ViT, with something that happens on its way."""
    classifier = load(ModelSettings(source=str(checkpoints.save("vit", directory)), device="cpu"))
    assert isinstance(classifier, TorchClassifier)
    score = classifier.score
    return replace(classifier, score=lambda pixels: forward(pixels, score))


def fits(count: int, now_and_then: int = 0) -> Forward:
    """A device that has room for so many images, and every so many batches for one less."""
    runs = 0

    def forward(pixels: torch.Tensor, score: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        nonlocal runs
        runs += 1
        scarce = now_and_then and runs % now_and_then == 0
        if len(pixels) > (1 if scarce else count):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return score(pixels)

    return forward


def ids(messages: list[Message]) -> list[str]:
    return sorted(json.loads(message.value() or b"")["reference"]["id"] for message in messages)


@pytest.mark.parametrize("now_and_then", [0, 3])
async def test_a_device_that_is_too_small_for_the_batch_loses_nothing(
    now_and_then: int, embedded: Cluster, tmp_path: Path
) -> None:
    topics, count = embedded.topics(), 120
    embedded.produce(topics.input, map(event, range(count)))
    async with running(
        embedded.settings(topics, KAFKA, "batch.max_size=16"), model(tmp_path, fits(5, now_and_then))
    ) as worker:
        results = await asyncio.to_thread(embedded.read, [topics.results, topics.dead_letters], count)
        await until(lambda: embedded.committed(topics) == embedded.ends(topics.input), "all is committed")
        assert (worker.metrics.registry.get_sample_value("image_worker_batch_splits_total") or 0) > 0
    assert ids(results) == sorted(map(str, range(count)))


async def test_memory_that_runs_out_in_the_middle_of_a_drain_loses_nothing(embedded: Cluster, tmp_path: Path) -> None:
    topics, count = embedded.topics(), 200
    embedded.produce(topics.input, map(event, range(count)))
    draining, runs, ran_out = threading.Event(), 0, 0

    def forward(pixels: torch.Tensor, score: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        nonlocal runs, ran_out
        runs += 1
        if (
            runs > 3
        ):  # once at the start, twice for what is read below: the third batch is under way when the stop comes
            draining.wait(PATIENCE_S)
        if draining.is_set() and len(pixels) > 2:
            ran_out += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return score(pixels)

    settings = embedded.settings(topics, KAFKA, "batch.max_size=16", "kafka.max_at_work=32")
    async with running(settings, model(tmp_path, forward)) as worker:
        await until(lambda: worker.status()["in_flight"] == 32, "the budget is in flight")
        worker.stop()
        draining.set()
    assert ran_out > 0
    assert sum(embedded.committed(topics).values()) >= 32
    async with running(settings, model(tmp_path, fits(16))):
        await until(lambda: embedded.committed(topics) == embedded.ends(topics.input), "the rest is committed")
    read = embedded.read([topics.results, topics.dead_letters], count)
    assert ids(read) == sorted(map(str, range(count)))


def nothing_but_nan(pixels: torch.Tensor, score: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    return score(pixels) * torch.nan


def a_lost_device(pixels: torch.Tensor, score: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (nothing_but_nan, "scores that are not finite numbers, for a black image too"),
        (a_lost_device, "the device cuda failed, and the worker has to be started anew: CUDA error"),
    ],
)
async def test_a_model_that_is_broken_stops_the_worker_which_commits_nothing_unfinished(
    trouble: Forward, said: str, embedded: Cluster, tmp_path: Path
) -> None:
    topics, broken = embedded.topics(), False

    def forward(pixels: torch.Tensor, score: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        return trouble(pixels, score) if broken else score(pixels)

    classifier = model(tmp_path, forward)
    worker = Worker(embedded.settings(topics, KAFKA), classifier)
    running_worker = asyncio.create_task(worker.run())
    embedded.produce(topics.input, map(event, range(20)))
    await until(lambda: sum(embedded.committed(topics).values()) == 20, "what came before is done")
    broken = True
    if trouble is a_lost_device:
        classifier.engine.device = torch.device("cuda")  # there is none here: what it says is all that is tried
    embedded.produce(topics.input, map(event, range(20, 40)))
    with pytest.raises(Fatal, match=said):
        await running_worker
    assert sum(embedded.committed(topics).values()) == 20
    assert len(embedded.read([topics.results, topics.dead_letters], 20)) == 20


def described(messages: list[Message]) -> dict[str, dict[str, Any]]:
    return {header(message, "number") or "": json.loads(message.value() or b"") for message in messages}


def produce(embedded: Cluster, topics: Topics, start: int, stop: int) -> None:
    embedded.produce(topics.input, map(event, range(start, stop)))


async def test_labels_that_change_while_the_worker_runs_are_told_by_every_outcome(
    embedded: Cluster, tmp_path: Path
) -> None:
    topics, file = embedded.topics(), tmp_path / "labels.txt"
    file.write_text("a cat\na dog\n")
    directory = two_towers.save("clip", tmp_path / "clip")
    settings = embedded.settings(
        topics, KAFKA, f"model.source={directory}", f"model.labels_file={file}", "events.top_k=10", "model.device=cpu"
    )
    classifier = load(settings.model)
    async with running(settings, classifier) as worker:
        produce(embedded, topics, 0, 40)
        before = described(await asyncio.to_thread(embedded.read, [topics.results], 40))
        file.write_text("a cat\nan owl\nan elk\n")
        await until(lambda: len(worker.status()["model"]["labels_version"]) == 12, "there is a version")
        first = worker.status()["model"]["labels_version"]
        sent = 40
        while worker.status()["model"]["labels_version"] == first:  # labels change between two batches: some must come
            produce(embedded, topics, sent, sent + 5)
            sent += 5
            await asyncio.sleep(0.2)
        produce(embedded, topics, sent, sent + 40)
        whole = described(await asyncio.to_thread(embedded.read, [topics.results], sent + 40))
    sets = {("a cat", "a dog"), ("a cat", "an elk", "an owl")}
    versions: dict[str, set[Any]] = {}
    for outcome in whole.values():
        names = tuple(sorted(score["label"] for score in outcome["scores"]))
        versions.setdefault(outcome["model"]["labels_version"], set()).add(names)
    assert {name for names in versions.values() for name in names} == sets
    assert all(len(names) == 1 for names in versions.values())
    assert len({outcome["model"]["fingerprint"] for outcome in whole.values()}) == len(versions) == 2
    assert all(whole[number]["outcome_id"] == outcome["outcome_id"] for number, outcome in before.items())
