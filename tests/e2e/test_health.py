"""The pages of a running worker: probes, metrics, status; and a port that is taken."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from prometheus_client import Gauge
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from tests.clusters import PATIENCE_S, Cluster, event
from tests.workers import running, until, worker_process
from worker.app import Worker
from worker.observe.metrics import Metrics

FAST = "kafka.group_protocol=consumer"


async def page(worker: Worker, name: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{worker.port}/{name}") as answer,
    ):
        return answer.status, await answer.text()


async def status(worker: Worker) -> dict[str, Any]:
    code, text = await page(worker, "status")
    assert code == 200
    found: dict[str, Any] = json.loads(text)
    return found


async def samples(worker: Worker) -> dict[str, dict[tuple[str, ...], float]]:
    """The values on /metrics, by sample name and label values in the order of the labels' names."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families((await page(worker, "metrics"))[1]):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


async def until_page(worker: Worker, name: str, code: int) -> str:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found, text = await page(worker, name)
            if found == code:
                return text
            await asyncio.sleep(0.01)


@asynccontextmanager
async def a_host_that_never_answers() -> AsyncIterator[tuple[int, asyncio.Event]]:
    """Its port, and an event that lets it answer 404 to all."""
    answer = asyncio.Event()

    async def hang(_request: web.BaseRequest) -> web.Response:
        await answer.wait()
        return web.Response(status=404)

    runner = web.ServerRunner(web.Server(hang), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1], answer
    finally:
        answer.set()
        await runner.cleanup()


async def test_a_worker_is_alive_at_once_and_ready_when_the_group_has_assigned(embedded: Cluster) -> None:
    topics = embedded.topics()
    async with running(embedded.settings(topics)) as worker:
        await until(lambda: worker.port != 0, "the pages are served")
        assert await page(worker, "livez") == (200, "ok\n")
        code, text = await page(worker, "readyz")
        assert code == 503
        assert "the model is not loaded yet" in text or "has assigned nothing yet" in text
        assert (await status(worker))["assignment"] == []
        assert await until_page(worker, "readyz", 200) == "ok\n"
        await until(lambda: len(worker.status()["assignment"]) == 4, "all partitions are assigned")
        decoders = worker.status()["decoders"]
        assert (decoders["decoders"], decoders["network"], decoders["files"]) == ("processes", False, False)
        assert await page(worker, "livez") == (200, "ok\n")
        worker.stop()
        assert "stopping" in worker.status()["not_ready"]


async def test_metrics_grow_with_the_work(embedded: Cluster) -> None:
    topics = embedded.topics()
    async with running(embedded.settings(topics, FAST)) as worker:
        for round_of_work in (1, 2):
            good = [event(number) for number in range(20)]
            embedded.produce(topics.input, [*good, {"value": b"no event"}])
            count = 21 * round_of_work
            await asyncio.to_thread(embedded.read, [topics.results, topics.dead_letters], count)
            await until(lambda count=count: sum(embedded.committed(topics).values()) == count, "all is committed")  # type: ignore[misc]
            await until(lambda: worker.status()["in_flight"] == 0, "and reported")
            found = await samples(worker)
            assert found["image_worker_records_total"] == {(topics.input,): count}
            outcomes = found["image_worker_outcomes_total"]
            assert outcomes["classification", ""] == 20 * round_of_work
            assert outcomes["dead_letter", "unrecognised_value"] == round_of_work
            assert found["image_worker_actions_total"] == {("allow",): 20 * round_of_work}
            assert found["image_worker_batch_images_sum"][()] == 20 * round_of_work
            assert sum(found["image_worker_batches_total"].values()) == found["image_worker_batch_images_count"][()]
            assert found["image_worker_fetched_bytes_total"][()] > 0
            assert found["image_worker_settlements_total"]["done",] >= round_of_work
            stages = found["image_worker_stage_seconds_count"]
            assert {stage: stages[stage,] for stage in ("fetch", "decode", "classify")} == dict.fromkeys(
                ("fetch", "decode", "classify"), 20 * round_of_work
            )
        assert found["image_worker_model_loaded"] == {(): 1}
        assert found["image_worker_rebalances_total"]["assigned",] >= 1
        await until(lambda: all(each["lag"] == 0 for each in worker.status()["assignment"]), "no lag is left")
        found = await samples(worker)
        assert set(found["image_worker_lag_records"].values()) == {0}
        assert len(found["image_worker_oldest_unsettled_seconds"]) == 4


async def test_every_metric_that_is_declared_is_on_the_page(embedded: Cluster) -> None:
    declared = {metric._name: metric for metric in vars(Metrics()).values() if isinstance(metric, MetricWrapperBase)}
    topics = embedded.topics()
    async with running(embedded.settings(topics, FAST)) as worker:
        await until(lambda: worker.port != 0, "the pages are served")
        text = (await page(worker, "metrics"))[1]
    families = {
        family.name: family
        for family in text_string_to_metric_families(text)
        if not family.name.endswith("_created")  # added by the client to each counter and histogram
    }
    assert families.keys() == declared.keys()
    for name, metric in declared.items():
        assert name.startswith("image_worker_")
        assert families[name].documentation == metric._documentation
        assert metric._documentation.endswith(".")
        assert not (isinstance(metric, Gauge) and name.endswith("_total"))


async def test_status_shows_the_oldest_record_of_a_partition_and_its_stage_while_it_hangs(embedded: Cluster) -> None:
    topics = embedded.topics()
    async with a_host_that_never_answers() as (port, answer):
        reach = (f"images.ports=[{port}]", "images.allow_networks=['127.0.0.0/8']", "images.read_timeout_s=60")
        async with running(embedded.settings(topics, FAST, *reach)) as worker:
            hanging = {"value": json.dumps({"url": f"http://127.0.0.1:{port}/"}), "partition": 2}
            embedded.produce(topics.input, [{**event(0), "partition": 2}, hanging, {**event(1), "partition": 2}])

            def partition() -> dict[str, Any]:
                return next((each for each in worker.status()["assignment"] if each["partition"] == 2), {})

            await until(lambda: partition().get("in_flight") == 2 and partition()["committed"] == 1, "one hangs")
            found = await status(worker)
            oldest = next(each for each in found["assignment"] if each["partition"] == 2)
            assert oldest == {
                "topic": topics.input,
                "partition": 2,
                "in_flight": 2,
                "committed": 1,
                "lag": oldest["lag"],
                "oldest_offset": 1,
                "oldest_stage": "fetch",
                "oldest_age_s": oldest["oldest_age_s"],
                "waiting_s": 0.0,
                "failing_s": 0.0,
                "failing": None,
            }
            assert oldest["oldest_age_s"] > 0
            assert found["in_flight"] == 2
            assert found["group"] == topics.group
            assert found["model"]["name"] == "free"
            assert found["memory_bound_bytes"] > 0
            assert found["not_ready"] == []
            assert found["intake_paused"] is False
            assert (await samples(worker))["image_worker_oldest_unsettled_seconds"]["2", topics.input] > 0
            assert embedded.committed(topics) == {2: 1}, "what is behind it is done but not committed"
            answer.set()
            await until(lambda: partition()["in_flight"] == 0 and partition()["committed"] == 3, "all is settled")
    assert embedded.committed(topics) == {2: 3}


async def test_a_port_in_use_is_one_line_and_exit_code_1(embedded: Cluster, tmp_path: Path) -> None:
    topics = embedded.topics()
    log = tmp_path / "log"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with worker_process(embedded.flags(topics, f"observe.port={port}"), log) as process:
            assert await asyncio.to_thread(process.wait, PATIENCE_S) == 1
    (line,) = log.read_text().splitlines()
    assert line.startswith(f"free_worker: cannot serve health pages on 127.0.0.1:{port}: ")
    assert "set observe.port" in line
