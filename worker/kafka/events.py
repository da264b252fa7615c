"""Events as `image-worker produce` makes them: from addresses, files and lines, in the encodings that are read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import fastavro

from worker.errors import ConfigurationError, Fatal, Transient
from worker.kafka.registry import Registry, framed
from worker.kafka.schemas import IMAGE_REFERENCE, latest
from worker.kafka.settings import EventsSettings, FieldsSettings

Encoding = Literal["json", "single-object", "confluent", "image"]
KeyFrom = Literal["address", "id"]
Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """A record's key and value."""

    key: bytes | None
    value: bytes


class EventMaker:
    """Makes the events of one topic. Raises ValueError or OSError for what no event can be made of."""

    def __init__(self, settings: EventsSettings, encoding: Encoding, topic: str, key: KeyFrom) -> None:
        """Raises ConfigurationError or Fatal where the registry is needed and cannot be used."""
        self._fields = settings.fields
        self._encoding = encoding
        self._key_from = key
        self._encode = _json if encoding in ("json", "image") else _avro(_prefix(settings, encoding, topic))

    def of_address(self, address: str, id_: str | None = None) -> Event:
        """The event that names an image by its address."""
        if self._encoding == "image":
            raise ValueError("with --encoding image the image itself is sent: name a file, not an address")
        flat = {"url": address} | ({"id": id_} if id_ is not None else {})
        event = flat if self._encode is not _json else _nested(flat, self._fields)
        return Event(self._key(address, id_), self._encode(event))

    def of_file(self, path: Path, id_: str) -> Event:
        """The event that names a file, or is the image in it."""
        address = path.resolve().as_uri()
        if self._encoding != "image":
            return self.of_address(address, id_)
        return Event(self._key(address, id_), path.read_bytes())

    def of_line(self, line: str) -> Event:
        """The event of a line: an address, or a JSON object, which stays as it is (in Avro: its fields)."""
        if not line.startswith("{"):
            return self.of_address(line)
        event = json.loads(line)
        if self._encoding == "image":
            raise ValueError("with --encoding image the image itself is sent: name a file, not an event")
        address, id_ = _at(event, self._fields.url), _at(event, self._fields.id)
        value = line.encode() if self._encode is _json else self._encode(event)
        return Event(self._key(address, id_), value)

    def _key(self, address: Any, id_: Any) -> bytes | None:
        chosen = id_ if self._key_from == "id" else address
        if chosen is None or (isinstance(chosen, str) and chosen[:5].lower() == "data:"):
            return None  # a data: address is the image itself, which is no key
        return str(chosen).encode()


def _json(event: Fields) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def _avro(prefix: bytes) -> Callable[[Fields], bytes]:
    schema = latest(IMAGE_REFERENCE)
    known = {field["name"] for field in schema.parsed["fields"]}

    def encode(event: Fields) -> bytes:
        if foreign := sorted(set(event) - known):
            raise ValueError(f"the schema image-reference has no field {foreign[0]!r}, only {', '.join(sorted(known))}")
        stream = BytesIO(prefix)
        stream.seek(len(prefix))
        try:
            fastavro.schemaless_writer(stream, schema.parsed, event)
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"not an event of the schema image-reference: {error}") from error
        return stream.getvalue()

    return encode


def _prefix(settings: EventsSettings, encoding: Encoding, topic: str) -> bytes:
    """What stands before the Avro value: the schema's fingerprint, or its id in the registry."""
    schema = latest(IMAGE_REFERENCE)
    if encoding == "single-object":
        return schema.mark
    if settings.registry_url is None:
        raise ConfigurationError("--encoding confluent needs a schema registry: set events.registry_url")

    async def ask() -> int:
        registry = Registry(settings)
        try:
            find = registry.register if settings.register_schemas else registry.id_of
            return await find(f"{topic}-value", schema)
        except Transient as outage:
            raise Fatal(str(outage)) from outage
        finally:
            await registry.close()

    return framed(asyncio.run(ask()))


def _nested(flat: Fields, fields: FieldsSettings) -> dict[str, Any]:
    """The fields at the paths that the settings name."""
    event: dict[str, Any] = {}
    for name, value in flat.items():
        *above, last = getattr(fields, name).split(".")
        tree = event
        for key in above:
            tree = tree.setdefault(key, {})
            if not isinstance(tree, dict):
                raise ConfigurationError(f"events.fields.{name} lies below another field: no event can have both")
        tree[last] = value
    return event


def _at(event: Any, path: str) -> Any:
    for key in path.split("."):
        event = event.get(key) if isinstance(event, Mapping) else None
    return event
