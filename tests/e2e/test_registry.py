"""The worker with a schema registry: framed events in and out, and what it does while the registry is away."""

from __future__ import annotations

import asyncio
import json
import signal
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import fastavro
import pytest
from confluent_kafka import Message

from tests.clusters import PATIENCE_S, Cluster, Topics, data_uri, header, jpeg
from tests.registry import FakeRegistry, registry
from tests.workers import running, until, worker_process
from worker.app import Worker
from worker.kafka.schemas import CLASSIFICATION, IMAGE_REFERENCE, latest
from worker.settings import Settings


def framed(schema_id: int, number: int) -> dict[str, Any]:
    """A record that asks for a small grey image, in Confluent framing."""
    event = {"url": data_uri(jpeg(number * 37 % 256)), "id": str(number), "sha256": None}
    stream = BytesIO()
    fastavro.schemaless_writer(stream, latest(IMAGE_REFERENCE).parsed, event)
    return {"key": f"key-{number}", "value": b"\x00" + struct.pack(">I", schema_id) + stream.getvalue()}


def flags(fake: FakeRegistry, *more: str) -> tuple[str, ...]:
    return (
        "kafka.group_protocol=consumer",
        "events.output_encoding=auto",
        f"events.registry_url={fake.url}",
        *more,
    )


def settings(cluster: Cluster, topics: Topics, fake: FakeRegistry, *more: str) -> Settings:
    return cluster.settings(topics, *flags(fake, "events.register_schemas=true", *more))


def result(message: Message, schema_id: int) -> dict[str, Any]:
    """A result in Confluent framing, read with the schema."""
    value = message.value() or b""
    assert value[:5] == b"\x00" + struct.pack(">I", schema_id)
    event = fastavro.schemaless_reader(BytesIO(value[5:]), latest(CLASSIFICATION).parsed, None)
    assert isinstance(event, dict)
    return event


async def readyz(worker: Worker) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{worker.port}/readyz") as answer,
    ):
        return answer.status, await answer.text()


async def test_framed_events_become_framed_results(embedded: Cluster) -> None:
    topics = embedded.topics()
    async with registry() as fake:
        number = fake.add(latest(IMAGE_REFERENCE).text)
        embedded.produce(topics.input, [framed(number, each) for each in range(20)])
        async with running(settings(embedded, topics, fake)):
            seen = await asyncio.to_thread(embedded.read, [topics.results], 20)
        registered = fake.add(latest(CLASSIFICATION).text, f"{topics.results}-value")
    events = [result(message, registered) for message in seen]
    assert {event["reference"]["id"] for event in events} == {str(each) for each in range(20)}
    assert all(event["model"]["name"] == "free" for event in events)
    assert all(
        event["outcome_id"] == header(m, "image-worker.outcome.id") for event, m in zip(events, seen, strict=True)
    )


async def test_what_cannot_be_decoded_is_a_framed_result_where_the_policy_has_an_action_for_it(
    embedded: Cluster,
) -> None:
    topics = embedded.topics()
    async with registry() as fake:
        embedded.produce(topics.input, [{"key": "k", "value": json.dumps({"url": data_uri(b"no image")})}])
        async with running(settings(embedded, topics, fake, "policy.unscannable=block")):
            (message,) = await asyncio.to_thread(embedded.read, [topics.results], 1)
        registered = fake.add(latest(CLASSIFICATION).text, f"{topics.results}-value")
    event = result(message, registered)
    assert event["decision"] == {"label": "unscannable", "score": 0.0, "action": "block", "frame": 0}
    assert event["unscannable"]["reason"] == "not_an_image"
    assert embedded.ends(topics.dead_letters) == {}


async def test_without_a_registry_results_are_in_single_object_encoding(embedded: Cluster) -> None:
    topics = embedded.topics()
    embedded.produce(topics.input, [{"value": json.dumps({"url": data_uri(jpeg(0))})}])
    async with running(embedded.settings(topics, "kafka.group_protocol=consumer", "events.output_encoding=auto")):
        (message,) = await asyncio.to_thread(embedded.read, [topics.results], 1)
    schema, value = latest(CLASSIFICATION), message.value() or b""
    assert value.startswith(schema.mark)
    event = fastavro.schemaless_reader(BytesIO(value[len(schema.mark) :]), schema.parsed, None)
    assert isinstance(event, dict)
    assert event["decision"]["label"] == "a"


async def test_an_unknown_schema_is_a_dead_letter_and_looked_up_once(embedded: Cluster) -> None:
    topics = embedded.topics()
    async with registry() as fake:
        known = fake.add(latest(IMAGE_REFERENCE).text)
        records = [framed(99 if each < 40 else known, each) for each in range(41)]
        embedded.produce(topics.input, records)
        async with running(settings(embedded, topics, fake)):
            letters = await asyncio.to_thread(embedded.read, [topics.dead_letters], 40)
            await asyncio.to_thread(embedded.read, [topics.results], 1)
        assert fake.asked["/schemas/ids/99"] == 1
    assert len(letters) == 40
    assert {header(letter, "image-worker.reason") for letter in letters} == {"unknown_schema"}


@pytest.mark.parametrize("kind", ["refuses connections", "answers 503"])
async def test_while_the_registry_is_away_records_wait_and_nothing_is_dead_lettered(
    embedded: Cluster, kind: str
) -> None:
    from aiohttp import web

    topics = embedded.topics()
    async with registry() as fake:
        number = fake.add(latest(IMAGE_REFERENCE).text)
        async with running(settings(embedded, topics, fake)) as worker:
            await until(lambda: not worker.status()["not_ready"], "the worker is ready")
            if kind == "answers 503":
                fake.failure = web.Response(status=503, text="no healthy upstream")
            else:
                await fake.go()
            embedded.produce(topics.input, [framed(number, each) for each in range(10)])
            await until(lambda: waiting(worker) == 10, "all records wait")
            status, text = await readyz(worker)
            assert status == 503
            assert f"records wait: the schema registry at {fake.url}" in text
            assert embedded.committed(topics) == {}
            fake.failure = None
            if kind == "refuses connections":
                await fake.come()
            seen = await asyncio.to_thread(embedded.read, [topics.results], 10)
            await until(lambda: not worker.status()["not_ready"], "the worker is ready again")
        registered = fake.add(latest(CLASSIFICATION).text, f"{topics.results}-value")
    assert {result(message, registered)["reference"]["id"] for message in seen} == {str(each) for each in range(10)}
    assert embedded.ends(topics.dead_letters) == {}
    assert embedded.committed(topics) == embedded.ends(topics.input)


def waiting(worker: Worker) -> float | None:
    return worker.metrics.registry.get_sample_value("image_worker_waiting_records")


async def test_a_registry_that_is_away_at_the_start_is_waited_for(embedded: Cluster) -> None:
    topics = embedded.topics()
    async with registry(away=True) as fake, running(settings(embedded, topics, fake)) as worker:
        await until(lambda: "schema registry" in str(worker.status()["not_ready"]), "it says what it waits for")
        assert (await readyz(worker))[0] == 503
        await fake.come()
        await until(lambda: not worker.status()["not_ready"], "it goes on")


async def test_a_stop_ends_the_wait_for_a_registry_that_is_away_at_the_start(embedded: Cluster) -> None:
    topics = embedded.topics()
    async with registry(away=True) as fake:
        async with running(settings(embedded, topics, fake)) as worker:
            await until(lambda: "schema registry" in str(worker.status()["not_ready"]), "it waits")
        assert worker.status()["assignment"] == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_sigterm_while_it_waits_for_the_registry_exits_0(embedded: Cluster, tmp_path: Path) -> None:
    topics = embedded.topics()
    log = tmp_path / "log"
    async with registry(away=True) as fake:
        with worker_process(embedded.flags(topics, *flags(fake, "observe.log_format=json")), log) as process:
            await until(lambda: "worker.waits" in log.read_text(), "it waits")
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("register", ["false", "true"])
async def test_a_registry_without_our_schema_or_that_refuses_it_is_one_line_and_exit_code_1(
    embedded: Cluster, tmp_path: Path, register: str
) -> None:
    topics = embedded.topics()
    log = tmp_path / "log"
    async with registry() as fake:
        fake.compatible = False
        more = flags(fake, f"events.register_schemas={register}", "observe.log_level=error")
        with worker_process(embedded.flags(topics, *more), log) as process:
            assert await asyncio.to_thread(process.wait, PATIENCE_S) == 1
    (line,) = log.read_text().splitlines()
    assert line.startswith(f"free_worker: the registry at {fake.url} ")
    assert f"{topics.results}-value" in line
