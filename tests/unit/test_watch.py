"""Outcomes read back and shown: every encoding, dead letters, tombstones, and what is neither."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from tests.cli import error_line, image_worker
from tests.clusters import Cluster, Topics
from tests.registry import registry as schema_registry
from worker.errors import ConfigurationError, Reason, Rejected
from worker.kafka.classification import Classifications, Timing, encoder
from worker.kafka.deadletter import DeadLetters
from worker.kafka.points import Point, parse_point
from worker.kafka.registry import Registry
from worker.kafka.settings import EventsSettings
from worker.records import (
    Coordinates,
    Decision,
    Head,
    ImageReference,
    ModelIdentity,
    OutgoingRecord,
    Pixels,
    Prediction,
    SourceRecord,
)
from worker.settings import Settings
from worker.watch import Seen, as_json, as_line, follow, outcome_topics

HEAD = Head(ModelIdentity("free", "0" * 40, "f" * 64, "numpy", "fp32"), ("cat", "dog"))
RECORD = SourceRecord(Coordinates("in", 1, 2), 5, b"key", b'{"url": "http://a/\\u001b[31m", "id": "9"}', ())


REFERENCE = ImageReference(address="http://a/\x1b[31m")


async def classification(topics: Topics, output: str, registry: Registry | None = None) -> OutgoingRecord:
    settings = EventsSettings.model_validate({"output_encoding": output, "register_schemas": True})
    cluster_topics = settings_topics(topics)
    encode = await encoder(settings, topics.results, registry)
    results = Classifications(cluster_topics, settings, lambda: HEAD, encode)
    pixels = Pixels(np.zeros((1, 1, 1, 3), np.uint8), 640, 480, "jpeg", "a" * 64)
    prediction = Prediction(np.array([0.75, 0.25], np.float32), HEAD, 4, "size", 0.01, 0.02)
    decision = Decision("cat", 0.75, "allow")
    return results.make(RECORD, REFERENCE, pixels, prediction, decision, Timing(0, 0, 0), None).record


def settings_topics(topics: Topics) -> Any:
    names = {"input": topics.input, "results": topics.results, "dead_letters": topics.dead_letters}
    return Settings.model_validate({"kafka": {"topics": names}}).kafka.topics


def dead_letter(topics: Topics) -> OutgoingRecord:
    rejected = Rejected(Reason.NOT_FOUND, "gone")
    return DeadLetters(topics.dead_letters, lambda: HEAD).make(RECORD, rejected).record


def publish(cluster: Cluster, records: Iterable[OutgoingRecord]) -> None:
    for each in records:
        record = {"key": each.key, "value": each.value, "headers": list(each.headers), "partition": 0}
        cluster.produce(each.topic, [record])


async def see(cluster: Cluster, topics: Topics, count: int, *flags: str, dead_letters: bool = False) -> list[Seen]:
    settings = cluster.settings(topics, *flags)
    seen: list[Seen] = []
    async with aclosing(follow(settings, outcome_topics(settings, dead_letters), Point())) as outcomes:
        while len(seen) < count:
            seen.append(await anext(outcomes))
    return seen


@pytest.mark.parametrize("output", ["json", "auto"])
async def test_a_classification_is_read_in_every_encoding(embedded: Cluster, output: str) -> None:
    topics = embedded.topics()
    publish(embedded, [await classification(topics, output)])
    (seen,) = await see(embedded, topics, 1)
    assert seen.classification is not None
    assert seen.classification["decision"] == {"label": "cat", "score": 0.75, "action": "allow", "frame": 0}
    row = as_json(seen)
    assert (row["topic"], row["key"], row["classification"]) == (topics.results, "key", seen.classification)
    line = as_line(seen).plain
    assert "cat" in line
    assert "0.750  allow" in line


@pytest.mark.parametrize("output", ["json", "auto"])
async def test_an_unscannable_image_is_shown_with_its_reason_and_action(embedded: Cluster, output: str) -> None:
    topics = embedded.topics()
    settings = EventsSettings.model_validate({"output_encoding": output})
    encode = await encoder(settings, topics.results, None)
    results = Classifications(settings_topics(topics), settings, lambda: HEAD, encode)
    rejected, decision = Rejected(Reason.BROKEN_IMAGE, "cut\x1b[31m"), Decision("unscannable", 0.0, "review")
    outcome = results.unscannable(RECORD, REFERENCE, rejected, decision, Timing(0, 0, 0), None)
    publish(embedded, [outcome.record])
    (seen,) = await see(embedded, topics, 1)
    line = as_line(seen).plain
    assert "unscannable" in line
    assert "broken_image: cut" in line
    assert "review" in line
    assert "\x1b" not in line


async def test_a_framed_classification_is_read_with_the_registry(embedded: Cluster) -> None:
    topics = embedded.topics()
    async with schema_registry() as fake:
        registry = Registry(EventsSettings(registry_url=fake.url))
        publish(embedded, [await classification(topics, "auto", registry)])
        await registry.close()
        (seen,) = await see(embedded, topics, 1, f"events.registry_url={fake.url}")
        assert seen.classification is not None
        assert seen.classification["decision"]["label"] == "cat"
        (seen,) = await see(embedded, topics, 1)
        assert "set events.registry_url" in (seen.problem or "")


async def test_control_characters_of_strangers_do_not_reach_the_terminal(embedded: Cluster) -> None:
    topics = embedded.topics()
    publish(embedded, [await classification(topics, "json"), dead_letter(topics)])
    for seen in await see(embedded, topics, 1) + await see(embedded, topics, 1, dead_letters=True):
        assert r"http://a/\x1b[31m" in as_line(seen).plain


async def test_a_dead_letter_tells_reason_detail_source_and_reference(embedded: Cluster) -> None:
    topics = embedded.topics()
    publish(embedded, [dead_letter(topics)])
    (seen,) = await see(embedded, topics, 1, dead_letters=True)
    assert as_json(seen)["dead_letter"] == {
        "reason": "not_found",
        "stage": "fetch",
        "detail": "gone",
        "topic": "in",
        "partition": 1,
        "offset": 2,
        "url": "http://a/\x1b[31m",
        "id": "9",
    }


@pytest.mark.parametrize("value", [b"[1]", b"\xc3\x01unknown!", b"\0\0\0\0\7x", b"\xff", b"{"])
async def test_what_cannot_be_read_is_said_and_reading_goes_on(embedded: Cluster, value: bytes) -> None:
    topics = embedded.topics()
    publish(embedded, [OutgoingRecord(topics.results, None, each, ()) for each in (value, None)])
    unreadable, tombstone = await see(embedded, topics, 2)
    assert unreadable.problem
    assert "unreadable" in as_line(unreadable).plain
    assert tombstone.problem is None
    assert "tombstone" in as_line(tombstone).plain


async def test_a_record_without_a_reason_is_no_dead_letter(embedded: Cluster) -> None:
    topics = embedded.topics()
    publish(embedded, [OutgoingRecord(topics.dead_letters, None, b"{}", ())])
    (seen,) = await see(embedded, topics, 1, dead_letters=True)
    assert seen.problem == "the record has no header of a dead letter"


def test_topics_of_actions_are_results_too() -> None:
    settings = Settings.model_validate({"policy": {"topics": {"block": "blocked"}}})
    assert outcome_topics(settings, dead_letters=False) == ["classifications", "blocked"]


def test_a_start_is_an_end_an_offset_or_a_time() -> None:
    assert parse_point("--from", "beginning") == Point()
    assert parse_point("--from", "end") == Point(end=True)
    assert parse_point("--from", "17") == Point(offset=17)
    for text in ("1970-01-01T00:00:01Z", "1970-01-01T00:00:01", "1970-01-01T01:00:01+01:00"):
        assert parse_point("--from", text) == Point(time_ms=1000)
    for text in ("0001-01-01", "1969-12-31T23:59:59.999Z"):
        assert parse_point("--from", text) == Point(time_ms=0), "a broker takes -1 for the end"
    assert parse_point("--from", "1970-01-01T00:00:01.000001Z") == Point(time_ms=1001), "no record before it"
    with pytest.raises(ConfigurationError, match="--from tomorrow"):
        parse_point("--from", "tomorrow")


def test_the_command_begins_at_an_offset_ends_after_its_count_and_prints_json(embedded: Cluster) -> None:
    topics = embedded.topics()
    publish(embedded, [OutgoingRecord(topics.results, b"%d" % number, None, ()) for number in range(3)])
    flags = [word for flag in embedded.flags(topics) for word in ("--set", flag)]
    process = image_worker(*flags, "watch", "--from", "1", "--count", "2", "--json")
    assert process.returncode == 0
    assert [json.loads(line)["key"] for line in process.stdout.splitlines()] == ["1", "2"]


def test_a_wrong_start_is_one_line_and_exit_code_2(embedded: Cluster) -> None:
    process = image_worker("watch", "--from", "tomorrow")
    assert process.returncode == 2
    assert "--from tomorrow" in error_line(process)
