"""An outage of the worker's own network: it takes nothing in, says so, and goes on by itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from tests.clusters import Cluster, event, jpeg
from tests.e2e.test_health import samples, status, until_page
from tests.kafka_server import free_ports
from tests.workers import running, until
from worker.app import Worker
from worker.kafka import intake

HOSTS = [f"127.0.0.{last}" for last in range(1, 6)]


@asynccontextmanager
async def hosts(port: int) -> AsyncIterator[None]:
    """Five hosts that serve one image."""

    async def serve(_: web.BaseRequest) -> web.Response:
        return web.Response(body=jpeg(100), content_type="image/jpeg")

    runner = web.ServerRunner(web.Server(serve), shutdown_timeout=0.1)
    await runner.setup()
    for host in HOSTS:
        await web.TCPSite(runner, host, port, reuse_address=True).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def test_in_an_outage_at_large_nothing_is_taken_in_and_nothing_dead_lettered(
    embedded: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_PROBE_EVERY_S", 1.0)
    (port,) = free_ports(1)
    topics = embedded.topics()
    lifted = [f"images.ports=[{port}]", 'images.allow_networks=["127.0.0.0/8"]', "images.retry_base_s=0.01"]
    settings = embedded.settings(topics, "kafka.group_protocol=consumer", "kafka.max_at_work=20", *lifted)
    addresses = [f"http://{HOSTS[number % 5]}:{port}/{number}" for number in range(300)]

    async def produce(first: int, last: int) -> None:
        events = (event(number, url=addresses[number]) for number in range(first, last))
        await asyncio.to_thread(embedded.produce, topics.input, events)

    async def until_done(count: int) -> None:
        done = 0
        while done < count:
            done = sum((await asyncio.to_thread(embedded.committed, topics)).values())
        assert done == count

    async with running(settings) as worker:
        async with hosts(port):
            await produce(0, 100)
            await until_done(100)
        await produce(100, 300)
        assert "the network at large is down" in await until_page(worker, "readyz", 503)
        await until(lambda: worker.metrics.registry.get_sample_value("image_worker_intake_paused") == 1, "it pauses")
        taken_in = (await status(worker))["in_flight"]
        await until(lambda: probes(worker) > taken_in, "now and then one record is tried")
        assert probes(worker) < 150
        found = await samples(worker)
        assert found["image_worker_network_down"][()] == 1
        assert found["image_worker_waiting_records"][()] > 0
        async with hosts(port):
            await until_done(300)
            await until_page(worker, "readyz", 200)
    read = await asyncio.to_thread(embedded.read, [topics.results, topics.dead_letters], 300)
    assert Counter(message.topic() for message in read) == {topics.results: 300}


def probes(worker: Worker) -> float:
    """Records taken in and not settled, as the metrics have it."""
    return worker.metrics.registry.get_sample_value("image_worker_in_flight_records") or 0.0
