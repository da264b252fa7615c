"""A consumer's message as the frozen value that travels."""

from __future__ import annotations

from collections.abc import Iterable
from operator import methodcaller

import structlog
from confluent_kafka import Message

from worker.records import Coordinates, Headers, SourceRecord

log = structlog.get_logger(__name__)

_headers = methodcaller("headers")
"""A call whose result Python checks. Of a message with a header whose name is not UTF-8 confluent-kafka 2.16 gives a
broken one: called directly, that is an error at first, and a crash once Python has made the call a fast one (seen)."""


def source_record(message: Message) -> SourceRecord:
    """A consumer's message as the frozen value that travels."""
    kind, timestamp_ms = message.timestamp()
    coordinates = Coordinates(message.topic() or "", message.partition() or 0, message.offset() or 0)
    return SourceRecord(
        coordinates,
        timestamp_ms if kind else -1,
        _bytes(message.key()),
        _bytes(message.value()),
        _headers_of(message, coordinates),
    )


def _headers_of(message: Message, coordinates: Coordinates) -> Headers:
    """Its headers; none where they cannot be read, since the event is in the value."""
    try:
        headers: Iterable[tuple[str, str | bytes | None]] = _headers(message) or ()
    except SystemError as error:
        log.warning(
            "record.headers_unreadable",
            record=str(coordinates),
            error=str(error.__cause__ or error),
            next="go on without its headers: write their names in UTF-8",
        )
        return ()
    return tuple((name, _bytes(value)) for name, value in headers)


def size_bytes(record: SourceRecord) -> int:
    """Bytes of a record's key, value and headers."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
