"""What becomes of images that cannot be decoded: a verdict of its own, by the policy an action of its own."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest
from confluent_kafka import Message

from tests.clusters import Cluster, Topics, data_uri, header, jpeg
from tests.workers import running, until
from worker.app import Worker

CUT = jpeg(100, (400, 300))[:2000]
KAFKA = "kafka.group_protocol=consumer"


def events(embedded: Cluster, topics: Topics) -> None:
    """One image that is broken, one that is none, one that is well, and one that cannot be fetched."""
    addresses = [data_uri(CUT), data_uri(b"no image at all"), data_uri(jpeg(10)), "ftp://a/b"]
    records = [{"key": str(n), "value": json.dumps({"url": each})} for n, each in enumerate(addresses)]
    embedded.produce(topics.input, records)


def by_key(messages: list[Message]) -> dict[bytes, Message]:
    return {message.key() or b"": message for message in messages}


def count(worker: Worker, name: str, **labels: str) -> float | None:
    return worker.metrics.registry.get_sample_value(f"image_worker_{name}_total", labels)


async def test_without_an_action_they_are_dead_letters_that_say_the_verdict(embedded: Cluster) -> None:
    topics = embedded.topics()
    events(embedded, topics)
    async with running(embedded.settings(topics, KAFKA)):
        letters = by_key(await asyncio.to_thread(embedded.read, [topics.dead_letters], 3))
        (result,) = await asyncio.to_thread(embedded.read, [topics.results], 1)
    verdicts = {key: header(letter, "image-worker.verdict") for key, letter in letters.items()}
    assert verdicts == {b"0": "unscannable", b"1": "unscannable", b"3": None}
    assert header(result, "image-worker.verdict") is None
    assert json.loads(result.value() or b"")["unscannable"] is None


async def test_with_an_action_they_are_classifications_and_nothing_else(embedded: Cluster) -> None:
    topics = embedded.topics()
    events(embedded, topics)
    async with running(embedded.settings(topics, KAFKA, "policy.unscannable=review")) as worker:
        results = by_key(await asyncio.to_thread(embedded.read, [topics.results], 3))
        letters = by_key(await asyncio.to_thread(embedded.read, [topics.dead_letters], 1))
        await until(lambda: count(worker, "actions", action="allow") == 1, "all is settled")
        await until(lambda: count(worker, "actions", action="review") == 2, "all is settled")
        assert count(worker, "outcomes", kind="unscannable", reason="not_an_image") == 1
        assert count(worker, "outcomes", kind="classification", reason="") == 1
    assert (set(results), set(letters)) == ({b"0", b"1", b"2"}, {b"3"})
    cut, none, well = (json.loads(results[key].value() or b"") for key in (b"0", b"1", b"2"))
    assert cut["decision"] == none["decision"] == {"label": "unscannable", "score": 0.0, "action": "review", "frame": 0}
    digest = hashlib.sha256(CUT).hexdigest()
    assert cut["image"] == {"sha256": digest, "format": "", "width": 0, "height": 0, "frames": 0}
    assert (none["scores"], none["unscannable"]["reason"]) == ([], "not_an_image")
    assert header(results[b"0"], "image-worker.outcome.id") == cut["outcome_id"]
    assert well["unscannable"] is None


@pytest.mark.parametrize("output", ["json", "auto"])
async def test_the_topic_of_the_action_gets_them(embedded: Cluster, output: str) -> None:
    topics = embedded.topics()
    own = f"{topics.results}-review"
    embedded.create(own)
    flags = ("policy.unscannable=review", f"policy.topics.review={own}", f"events.output_encoding={output}")
    events(embedded, topics)
    async with running(embedded.settings(topics, KAFKA, *flags)):
        reviewed = by_key(await asyncio.to_thread(embedded.read, [own], 2))
        others = by_key(await asyncio.to_thread(embedded.read, [topics.results, topics.dead_letters], 2))
    assert (set(reviewed), set(others)) == ({b"0", b"1"}, {b"2", b"3"})
