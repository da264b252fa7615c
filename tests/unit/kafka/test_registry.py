"""The registry over HTTP: what is known, what is not, and what is an outage of ours rather than a record's fault."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from typing import Any

import fastavro
import pytest
from aiohttp import web

from tests.registry import FakeRegistry, registry
from worker.errors import ConfigurationError, Fatal, Reason, Rejected, Transient
from worker.kafka.classification import encoder
from worker.kafka.codec import EventDecoder
from worker.kafka.registry import Registry
from worker.kafka.schemas import CLASSIFICATION, IMAGE_REFERENCE, latest
from worker.kafka.settings import EventsSettings
from worker.records import Coordinates, ImageReference, SourceRecord

OWN = '{"type": "record", "name": "Post", "fields": [{"name": "n", "type": "long"}, {"name": "url", "type": "string"}]}'


@pytest.fixture
async def fake() -> AsyncIterator[FakeRegistry]:
    async with registry() as started:
        yield started


@pytest.fixture
async def client(fake: FakeRegistry) -> AsyncIterator[Registry]:
    opened = Registry(EventsSettings(registry_url=fake.url))
    yield opened
    await opened.close()


def record(value: bytes) -> SourceRecord:
    return SourceRecord(Coordinates("images", 0, 0), 0, None, value, ())


def framed(schema_id: int, schema: str, event: dict[str, Any]) -> bytes:
    """Confluent framing as its documentation has it: a zero byte, the id in four bytes, the value."""
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(json.loads(schema), named_schemas={}), event)
    return b"\x00" + struct.pack(">I", schema_id) + stream.getvalue()


async def decode(client: Registry, value: bytes) -> ImageReference:
    return await EventDecoder(EventsSettings(registry_url=client.url), client).decode(record(value))


async def rejected(client: Registry, value: bytes) -> Reason:
    with pytest.raises(Rejected) as caught:
        await decode(client, value)
    return caught.value.reason


async def test_an_event_is_read_by_the_schema_whose_id_it_carries(fake: FakeRegistry, client: Registry) -> None:
    for text, event in (
        (OWN, {"n": 1, "url": "http://h/own"}),
        (latest(IMAGE_REFERENCE).text, {"url": "http://h/ours", "id": None, "sha256": None}),
    ):
        assert (await decode(client, framed(fake.add(text), text, event))).address == event["url"]


async def test_a_schema_is_fetched_once_however_many_ask_at_once(fake: FakeRegistry, client: Registry) -> None:
    value = framed(fake.add(OWN), OWN, {"n": 1, "url": "http://h/"})
    await asyncio.gather(*(decode(client, value) for _ in range(50)))
    await decode(client, value)
    assert fake.asked == {"/schemas/ids/1": 1}


async def test_an_unknown_id_is_the_records_fault_and_looked_up_once(fake: FakeRegistry, client: Registry) -> None:
    value = framed(7, OWN, {"n": 1, "url": "http://h/"})
    reasons = await asyncio.gather(*(rejected(client, value) for _ in range(50)))
    assert {*reasons, await rejected(client, value)} == {Reason.UNKNOWN_SCHEMA}
    assert fake.asked == {"/schemas/ids/7": 1}


async def test_an_id_that_was_unknown_is_looked_up_again_after_a_while(
    fake: FakeRegistry, client: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.kafka.registry._UNKNOWN_FOR_S", 0.0)
    value = framed(1, OWN, {"n": 1, "url": "http://h/late"})
    with pytest.raises(Rejected):
        await decode(client, value)
    fake.add(OWN)
    assert (await decode(client, value)).address == "http://h/late"


async def test_ids_that_were_unknown_are_forgotten_when_their_time_is_over(
    client: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.kafka.registry._UNKNOWN_FOR_S", 0.0)
    for number in (7, 8, 7, 9):
        assert await rejected(client, framed(number, OWN, {"n": 1, "url": "http://h/"})) is Reason.UNKNOWN_SCHEMA
    assert list(client._unknown) == [9]


async def test_one_who_stops_waiting_takes_the_answer_from_nobody(fake: FakeRegistry, client: Registry) -> None:
    value = framed(fake.add(OWN), OWN, {"n": 1, "url": "http://h/"})
    first, second = (asyncio.create_task(decode(client, value)) for _ in range(2))
    while not client._asked:
        await asyncio.sleep(0)
    first.cancel()
    assert (await second).address == "http://h/"


@pytest.mark.parametrize("text", ["{", '{"type": "nonsense"}', '"syntax = proto3;"'])
async def test_a_schema_that_cannot_be_used_is_the_records_fault(
    fake: FakeRegistry, client: Registry, text: str
) -> None:
    value = b"\x00" + struct.pack(">I", fake.add(text)) + b"abc"
    assert await rejected(client, value) in (Reason.UNKNOWN_SCHEMA, Reason.MALFORMED_VALUE, Reason.WRONG_TYPE)


OUTAGES: list[Callable[[], web.Response]] = [
    lambda: web.json_response({"error_code": 50001, "message": "Error in the backend data store"}, status=500),
    lambda: web.Response(status=503, text="no healthy upstream"),
    lambda: web.json_response({"error_code": 40101, "message": "Unauthorized"}, status=401),
    lambda: web.json_response({"error_code": 40301, "message": "Forbidden"}, status=403),
    lambda: web.Response(status=429, text="slow down"),
    lambda: web.Response(status=404, text="default backend - 404", content_type="text/html"),
    lambda: web.json_response({"error_code": 404, "message": "HTTP 404 Not Found"}, status=404),
    lambda: web.Response(status=200, text="<html>sign in</html>", content_type="text/html"),
    lambda: web.Response(status=200, text="[]", content_type="application/json"),
]


@pytest.mark.parametrize("failure", OUTAGES)
async def test_what_is_no_answer_of_a_registry_is_an_outage(
    fake: FakeRegistry, client: Registry, failure: Callable[[], web.Response]
) -> None:
    value = framed(fake.add(OWN), OWN, {"n": 1, "url": "http://h/"})
    fake.failure = failure()
    with pytest.raises(Transient, match=r"the schema registry at http://127\.0\.0\.1") as caught:
        await decode(client, value)
    assert len(str(caught.value).splitlines()) == 1
    fake.failure = None
    assert (await decode(client, value)).address == "http://h/"


async def test_a_registry_that_is_away_is_an_outage_until_it_comes_back(fake: FakeRegistry, client: Registry) -> None:
    value = framed(fake.add(OWN), OWN, {"n": 1, "url": "http://h/"})
    await fake.go()
    with pytest.raises(Transient, match="cannot be reached"):
        await decode(client, value)
    await fake.come()
    assert (await decode(client, value)).address == "http://h/"


async def test_a_result_carries_the_id_that_its_schema_is_registered_under(
    fake: FakeRegistry, client: Registry
) -> None:
    fake.add(OWN)
    number = fake.add(latest(CLASSIFICATION).text, "results-value")
    encode = await encoder(EventsSettings(registry_url=fake.url), "results", client)
    value = encode({"outcome_id": "x"})
    assert value[:5] == b"\x00" + struct.pack(">I", number)
    read = fastavro.schemaless_reader(BytesIO(value[5:]), latest(CLASSIFICATION).parsed, None)
    assert isinstance(read, dict)
    assert read["outcome_id"] == "x"


async def test_a_schema_is_registered_where_the_settings_ask_for_it(fake: FakeRegistry, client: Registry) -> None:
    settings = EventsSettings(registry_url=fake.url, register_schemas=True)
    await encoder(settings, "results", client)
    assert await client.id_of("results-value", latest(CLASSIFICATION)) == 1


@pytest.mark.parametrize("other", [None, OWN])
async def test_a_schema_that_is_not_registered_is_fatal(
    fake: FakeRegistry, client: Registry, other: str | None
) -> None:
    if other is not None:
        fake.add(other, "results-value")
    with pytest.raises(Fatal, match=r"no such schema under 'results-value'.*events\.register_schemas") as caught:
        await encoder(EventsSettings(registry_url=fake.url), "results", client)
    assert len(str(caught.value).splitlines()) == 1


async def test_a_schema_that_the_subject_does_not_take_is_fatal(fake: FakeRegistry, client: Registry) -> None:
    fake.compatible = False
    with pytest.raises(Fatal, match=r"does not take the schema under 'results-value' \(.*incompatible"):
        await encoder(EventsSettings(registry_url=fake.url, register_schemas=True), "results", client)


async def test_no_message_repeats_the_password_in_an_address(fake: FakeRegistry) -> None:
    client = Registry(EventsSettings(registry_url=fake.url.replace("//", "//me:hush@")))
    assert await rejected(client, framed(7, OWN, {"n": 1, "url": "x"})) is Reason.UNKNOWN_SCHEMA
    await fake.go()
    with pytest.raises(Transient) as caught:
        await client.schema(8)
    await client.close()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "more", [{"registry_url": "nowhere"}, {"registry_url": "http://me:hush@h", "registry_username": "me"}]
)
def test_an_address_that_is_none_is_a_wrong_setting(more: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"events\.registry_url") as caught:
        Registry(EventsSettings(**more))
    assert "hush" not in str(caught.value)
