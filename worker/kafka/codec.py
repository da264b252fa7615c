"""Events in: bytes to an ImageReference, whatever encoding they are in. Used on the event loop.

The first bytes tell the encodings apart, since no two begin alike: Confluent framing with 00, single-object Avro with
C3 01, JSON with a brace, images with their own magic numbers.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import fastavro

from worker.errors import Reason, Rejected
from worker.kafka.registry import Registry
from worker.kafka.schemas import SINGLE_OBJECT_MARK, Schema, by_mark
from worker.kafka.settings import EventsSettings
from worker.records import ImageReference, SourceRecord

_FRAME_BYTES = 5
_MARK_BYTES = 10
_BOM = b"\xef\xbb\xbf"
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")

_IMAGE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|BM|II\*\x00|MM\x00\*|RIFF....WEBP|....ftyp", re.DOTALL)


class EventDecoder:
    """Reads a record's value as an event, by the settings' paths."""

    def __init__(self, settings: EventsSettings, registry: Registry | None) -> None:
        self._encoding = settings.encoding
        self._registry = registry
        self._by_mark = by_mark(settings.schema_files)
        fields = settings.fields
        self._url, self._id, self._sha256 = (path.split(".") for path in (fields.url, fields.id, fields.sha256))

    async def decode(self, record: SourceRecord) -> ImageReference:
        """The reference in a record that has a value. Rejected says what is wrong with it; Transient, with us."""
        value = record.value
        if not value:
            raise Rejected(Reason.EMPTY_VALUE, "the record's value has no bytes")
        encoding = self._encoding if self._encoding != "auto" else recognise(value)
        if encoding == "image":
            return ImageReference(image=value)
        if encoding == "json":
            event = _json(value)
        elif encoding == "single-object":
            event = self._single_object(value)
        else:
            event = await self._confluent(value)
        return self._reference(event)

    async def _confluent(self, value: bytes) -> Any:
        if len(value) < _FRAME_BYTES or value[0] != 0:
            raise Rejected(Reason.MALFORMED_VALUE, "the value does not begin with a schema id in Confluent framing")
        (schema_id,) = struct.unpack_from(">I", value, 1)
        if self._registry is None:
            raise Rejected(
                Reason.UNKNOWN_SCHEMA,
                f"the value is framed for a schema registry (schema {schema_id}): set events.registry_url",
            )
        return _avro(await self._registry.schema(schema_id), value, _FRAME_BYTES)

    def _single_object(self, value: bytes) -> Any:
        if len(value) < _MARK_BYTES or not value.startswith(SINGLE_OBJECT_MARK):
            raise Rejected(Reason.MALFORMED_VALUE, "the value does not begin with C3 01 and a schema's fingerprint")
        schema = self._by_mark.get(value[:_MARK_BYTES])
        if schema is None:
            mark = value[2:_MARK_BYTES].hex()
            raise Rejected(Reason.UNKNOWN_SCHEMA, f"no schema has the fingerprint {mark}: see events.schema_files")
        return _avro(schema, value, _MARK_BYTES)

    def _reference(self, event: Any) -> ImageReference:
        address = _text(event, self._url)
        if not address:
            raise Rejected(Reason.MISSING_ADDRESS, f"the event has no address at {'.'.join(self._url)!r}")
        digest = _text(event, self._sha256)
        if digest is not None and not _DIGEST.fullmatch(digest):
            raise Rejected(Reason.WRONG_TYPE, f"{'.'.join(self._sha256)!r} is not a digest of 64 hex digits")
        return ImageReference(
            address=address, id=_text(event, self._id, numbers=True), sha256=digest.lower() if digest else None
        )


def recognise(value: bytes) -> str:
    """The encoding of a value by its first bytes: confluent, single-object, json or image."""
    if value[0] == 0 and not _IMAGE.match(value):
        return "confluent"
    if value.startswith(SINGLE_OBJECT_MARK):
        return "single-object"
    if _IMAGE.match(value):
        return "image"
    if value[:64].removeprefix(_BOM).lstrip()[:1] == b"{":
        return "json"
    raise Rejected(
        Reason.UNRECOGNISED_VALUE, f"the value begins with {value[:8].hex(' ')}: neither Avro, JSON nor an image"
    )


def _json(value: bytes) -> Any:
    try:
        return json.loads(value.removeprefix(_BOM))
    except (ValueError, RecursionError) as error:
        raise Rejected(Reason.MALFORMED_VALUE, f"the value is not JSON: {error}") from error


def _avro(schema: Schema, value: bytes, start: int) -> Any:
    stream = BytesIO(value)
    stream.seek(start)
    try:
        event = fastavro.schemaless_reader(stream, schema.parsed, None)
    except Exception as error:
        raise Rejected(Reason.MALFORMED_VALUE, f"the value is not what its schema says: {error!r}") from error
    if left := len(value) - stream.tell():
        raise Rejected(Reason.MALFORMED_VALUE, f"{left} bytes follow the end of the Avro value")
    return event


def _text(event: Any, path: list[str], *, numbers: bool = False) -> str | None:
    """The text at a path; None where there is nothing or null."""
    found = event
    for depth, name in enumerate(path):
        if not isinstance(found, Mapping):
            where = ".".join(path[:depth]) or "the event"
            raise Rejected(Reason.WRONG_TYPE, f"{where} is not an object but {type(found).__name__}")
        found = found.get(name)
        if found is None:
            return None
    if numbers and isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    if not isinstance(found, str):
        raise Rejected(Reason.WRONG_TYPE, f"{'.'.join(path)!r} is not text but {type(found).__name__}")
    return found
