"""Published outcomes read back: classifications in any encoding that the worker writes, and dead letters."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import fastavro

from worker.errors import Rejected, Transient
from worker.kafka.codec import EventDecoder
from worker.kafka.deadletter import CONNECT, REASON
from worker.kafka.registry import Registry
from worker.kafka.schemas import CLASSIFICATION, SINGLE_OBJECT_MARK, Schema, history
from worker.kafka.settings import EventsSettings
from worker.records import ImageReference, SourceRecord

_FRAME_BYTES = 5
_MARK_BYTES = 10


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What the headers of a dead letter say, and what its event named where that can be read."""

    reason: str
    stage: str
    detail: str
    topic: str
    partition: int
    offset: int
    reference: ImageReference


class OutcomeDecoder:
    """Reads outcomes. Used on the event loop; close it at the end."""

    def __init__(self, settings: EventsSettings) -> None:
        self._registry = Registry(settings) if settings.registry_url else None
        self._events = EventDecoder(settings, self._registry)
        self._by_mark = {schema.mark: schema for schema in history(CLASSIFICATION)}

    async def classification(self, value: bytes) -> dict[str, Any]:
        """The classification event in a value. Raises ValueError where it is none, or its schema cannot be had."""
        try:
            event = await self._read(value)
        except (Rejected, Transient) as error:
            raise ValueError(str(error)) from error
        except Exception as error:
            raise ValueError(f"the value cannot be read: {error!r}") from error
        if not isinstance(event, dict) or not isinstance(event.get("decision"), dict):
            raise ValueError("the value is no classification")
        return event

    async def dead_letter(self, record: SourceRecord) -> DeadLetter:
        """The dead letter in a record. Raises ValueError where its headers say that it is none."""
        headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
        if REASON not in headers:
            raise ValueError("the record has no header of a dead letter")
        reason = headers[REASON]
        return DeadLetter(
            reason,
            headers.get(CONNECT + "stage", ""),
            headers.get(CONNECT + "exception.message", "").removeprefix(f"{reason}: "),
            headers.get(CONNECT + "topic", ""),
            int(headers.get(CONNECT + "partition", -1)),
            int(headers.get(CONNECT + "offset", -1)),
            await self._reference(record),
        )

    async def close(self) -> None:
        if self._registry is not None:
            await self._registry.close()

    async def _reference(self, record: SourceRecord) -> ImageReference:
        try:
            return await self._events.decode(record)
        except (Rejected, Transient):
            return ImageReference()

    async def _read(self, value: bytes) -> Any:
        if value.startswith(SINGLE_OBJECT_MARK):
            schema = self._by_mark.get(value[:_MARK_BYTES])
            if schema is None:
                raise ValueError("the value is of no version of the schema classification that this release has")
            return _avro(schema, value, _MARK_BYTES)
        if value[:1] == b"\0":
            return _avro(await self._framed_schema(value), value, _FRAME_BYTES)
        return json.loads(value)

    async def _framed_schema(self, value: bytes) -> Schema:
        (schema_id,) = struct.unpack_from(">I", value, 1)
        if self._registry is None:
            raise ValueError(f"the value is framed for a schema registry (schema {schema_id}): set events.registry_url")
        return await self._registry.schema(schema_id)


def _avro(schema: Schema, value: bytes, start: int) -> Any:
    stream = BytesIO(value)
    stream.seek(start)
    return fastavro.schemaless_reader(stream, schema.parsed, None)
