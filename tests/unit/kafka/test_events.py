"""Events as `produce` makes them are read by the worker's own decoder."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.registry import registry
from worker.errors import ConfigurationError, Fatal
from worker.kafka.codec import EventDecoder
from worker.kafka.events import Event, EventMaker
from worker.kafka.registry import Registry
from worker.kafka.settings import EventsSettings
from worker.records import Coordinates, ImageReference, SourceRecord


async def read(event: Event, settings: EventsSettings) -> ImageReference:
    record = SourceRecord(Coordinates("images", 0, 0), -1, event.key, event.value, ())
    return await EventDecoder(settings, None).decode(record)


@pytest.mark.parametrize("encoding", ["json", "single-object"])
async def test_an_address_is_read_as_it_was_given(encoding: str) -> None:
    settings = EventsSettings()
    event = EventMaker(settings, encoding, "images", "address").of_address("http://a/ü.jpg", "7")  # type: ignore[arg-type]
    assert await read(event, settings) == ImageReference(address="http://a/ü.jpg", id="7")
    assert event.key == "http://a/ü.jpg".encode()


async def test_json_fields_lie_at_the_settings_paths() -> None:
    settings = EventsSettings.model_validate({"fields": {"url": "media.url", "id": "media.meta.id"}})
    event = EventMaker(settings, "json", "images", "id").of_address("http://a", "7")
    assert json.loads(event.value) == {"media": {"url": "http://a", "meta": {"id": "7"}}}
    assert event.key == b"7"


def test_a_field_below_another_is_a_wrong_configuration() -> None:
    settings = EventsSettings.model_validate({"fields": {"url": "media", "id": "media.id"}})
    with pytest.raises(ConfigurationError, match="below another"):
        EventMaker(settings, "json", "images", "id").of_address("http://a", "7")


def test_a_json_line_passes_through_as_it_is() -> None:
    line = '{ "url": "http://a",  "mine": [1, 2], "id": 5 }'
    event = EventMaker(EventsSettings(), "json", "images", "id").of_line(line)
    assert event == Event(b"5", line.encode())


async def test_a_json_line_becomes_avro_by_its_fields() -> None:
    maker = EventMaker(EventsSettings(), "single-object", "images", "address")
    assert await read(maker.of_line('{"url": "http://a"}'), EventsSettings()) == ImageReference(address="http://a")
    with pytest.raises(ValueError, match="no field 'mine'"):
        maker.of_line('{"url": "http://a", "mine": 1}')
    with pytest.raises(ValueError, match="not an event of the schema"):
        maker.of_line('{"id": "5"}')


def test_a_file_is_its_address_or_the_image_itself(tmp_path: Path) -> None:
    path = tmp_path / "a b.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    named = EventMaker(EventsSettings(), "json", "images", "id").of_file(path, "a b.jpg")
    assert json.loads(named.value) == {"url": path.as_uri(), "id": "a b.jpg"}
    inline = EventMaker(EventsSettings(), "image", "images", "address").of_file(path, "a b.jpg")
    assert inline == Event(path.as_uri().encode(), b"\xff\xd8\xff")


def test_an_address_is_no_image() -> None:
    maker = EventMaker(EventsSettings(), "image", "images", "address")
    for make in (lambda: maker.of_address("http://a"), lambda: maker.of_line('{"url": "http://a"}')):
        with pytest.raises(ValueError, match="name a file"):
            make()


def test_a_data_address_is_no_key() -> None:
    assert EventMaker(EventsSettings(), "json", "images", "address").of_address("data:,x").key is None


def test_confluent_framing_needs_a_registry() -> None:
    with pytest.raises(ConfigurationError, match=r"events\.registry_url"):
        EventMaker(EventsSettings(), "confluent", "images", "address")


async def test_confluent_framing_has_the_id_that_the_registry_gave() -> None:
    async with registry() as fake:
        settings = EventsSettings(registry_url=fake.url, register_schemas=True)
        maker = await asyncio.to_thread(EventMaker, settings, "confluent", "images", "address")
        event = maker.of_address("http://a", "7")
        reader = Registry(settings)
        record = SourceRecord(Coordinates("images", 0, 0), -1, event.key, event.value, ())
        assert await EventDecoder(settings, reader).decode(record) == ImageReference(address="http://a", id="7")
        await reader.close()


async def test_a_schema_that_the_registry_has_not_is_fatal_and_so_is_a_registry_that_is_away() -> None:
    async with registry() as fake:
        settings = EventsSettings(registry_url=fake.url)
        with pytest.raises(Fatal, match="has no such schema under 'images-value'"):
            await asyncio.to_thread(EventMaker, settings, "confluent", "images", "address")
    with pytest.raises(Fatal, match="cannot be reached"):
        await asyncio.to_thread(EventMaker, settings, "confluent", "images", "address")
