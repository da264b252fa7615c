"""What a dry run of a replay says of its sample and of a registry, on a real Apache Kafka."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from tests.broker.test_replay import ALL, seen
from tests.clusters import Cluster, Topics, event
from tests.e2e.test_registry import result
from tests.registry import registry
from tests.replays import job, replayed
from worker.errors import Fatal
from worker.kafka.schemas import CLASSIFICATION, latest
from worker.replay.rehearsal import Rehearsal, rehearse
from worker.testing import FreeClassifier

pytestmark = pytest.mark.broker


@pytest.fixture
def mixed(broker: Cluster) -> Topics:
    """Ten records in one partition: six that are fine, one tombstone, two that are no events, one that is no image."""
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, [event(n) for n in range(6)])
    broker.produce(topics.input, [{"key": "gone", "value": None}, *[{"value": b"no event at all"}] * 2])
    broker.produce(topics.input, [{"value": b'{"url": "data:,hello"}'}])
    return topics


def said(rehearsal: Rehearsal) -> dict[str, str]:
    return dict(rehearsal._rows())


async def test_what_came_of_the_sample_is_told_with_the_reasons(broker: Cluster, mixed: Topics) -> None:
    rehearsal = await rehearse(job(broker, mixed, ALL))
    found = said(rehearsal)
    assert found["sample"] == "7 done, 3 refused (not_an_image 1, unrecognised_value 2)"
    assert found["records"] == "10 at most, about 10, by a sample of 10"
    assert found["rate"].endswith("/s a process, measured on the sample")
    size = sum(len(record.value or b"") + len(record.key or b"") for record in rehearsal.sample.records)
    told = re.fullmatch(r"about ([\d,]+)", found["bytes"])
    assert told is not None
    assert size <= int(told[1].replace(",", "")) <= size + 10 * 100, "with the headers"


async def test_a_rate_that_is_asked_for_is_that_of_the_rehearsal_and_of_each_process(
    broker: Cluster, mixed: Topics
) -> None:
    made = job(broker, mixed, replace(ALL, rate=0.5))
    found = said(await rehearse(made))
    assert found["rate"] == "0.5/s a process, by --rate"
    assert found["takes"] == "about 20 s with one process"
    worker, _ = made.worker()
    assert worker._window is not None
    assert worker._window.rate == 0.5


async def test_of_a_sample_that_would_wait_no_rate_is_told(broker: Cluster) -> None:
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, [event(0), {"value": b"\x00\x00\x00\x00\x01?"}])
    async with registry(away=True) as fake:
        flags = (f"events.registry_url={fake.url}", "events.output_encoding=json")
        found = said(await rehearse(job(broker, topics, ALL, *flags)))
    assert found["sample"].startswith("1 done, 1 would wait: the schema registry at http://127.0.0.1")
    assert found["rate"] == "not measured: see the sample"
    assert "takes" not in found


class Lost(FreeClassifier):
    """On a device that is lost at the first image."""

    def predict(self, batch: Any) -> Any:
        if batch.any():
            raise Fatal("the device is lost")
        return super().predict(batch)


async def test_a_model_that_fails_for_good_is_no_fast_one(broker: Cluster, mixed: Topics) -> None:
    with pytest.raises(Fatal, match="the device is lost"):
        await rehearse(job(broker, mixed, ALL, model=Lost()))


async def test_a_registry_has_the_schema_of_a_replays_results_under_the_live_subject(broker: Cluster) -> None:
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, [event(n) for n in range(3)])
    schema = latest(CLASSIFICATION).text
    async with registry() as fake:
        flags = ("events.output_encoding=auto", f"events.registry_url={fake.url}")
        with pytest.raises(Fatal, match=f"has no such schema under '{topics.results}-value'"):
            await rehearse(await asyncio.to_thread(job, broker, topics, ALL, *flags))
        number = fake.add(schema, f"{topics.results}-value")
        await rehearse(await asyncio.to_thread(job, broker, topics, ALL, *flags))
        made = await replayed(broker, topics, ALL, *flags)
        assert all(result(message, number) for message in await seen(broker, made, 3))


async def test_where_an_output_is_named_the_schema_is_that_of_its_subject(broker: Cluster) -> None:
    topics = broker.topics(partitions=1)
    elsewhere = f"{topics.results}-elsewhere"
    broker.create(elsewhere)
    broker.produce(topics.input, [event(0)])
    async with registry() as fake:
        fake.add(latest(CLASSIFICATION).text, f"{topics.results}-value")
        flags = ("events.output_encoding=auto", f"events.registry_url={fake.url}")
        made = job(broker, topics, replace(ALL, output=elsewhere), *flags)
        with pytest.raises(Fatal, match=f"has no such schema under '{elsewhere}-value'"):
            await rehearse(made)
