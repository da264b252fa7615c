"""A consumer's message as the frozen value that travels."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import Message

from worker.records import Coordinates, SourceRecord


def source_record(message: Message) -> SourceRecord:
    """A consumer's message as the frozen value that travels."""
    kind, timestamp_ms = message.timestamp()
    headers: Iterable[tuple[str, str | bytes | None]] = message.headers() or ()  # type: ignore[assignment]
    return SourceRecord(
        Coordinates(message.topic() or "", message.partition() or 0, message.offset() or 0),
        timestamp_ms if kind else -1,
        _bytes(message.key()),
        _bytes(message.value()),
        tuple((name, _bytes(value)) for name, value in headers),
    )


def size_bytes(record: SourceRecord) -> int:
    """Bytes of a record's key, value and headers."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
