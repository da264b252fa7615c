"""The package's Avro schemas, with their history: `schemas/NAME/VERSION.avsc`, whole numbers from 1 up.

A version that was released is never changed. tests/unit/test_schemas.py holds each against its predecessors: events in
are BACKWARD_TRANSITIVE (a new worker reads every old event), events out FULL_TRANSITIVE (any reader, any writer).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import fastavro
from fastavro.schema import fingerprint as avro_fingerprint
from fastavro.schema import to_parsing_canonical_form

from worker.errors import ConfigurationError

IMAGE_REFERENCE = "image-reference"
CLASSIFICATION = "classification"

SINGLE_OBJECT_MARK = b"\xc3\x01"
"""The two bytes before the fingerprint (Avro specification, "Single object encoding")."""


@dataclass(frozen=True, slots=True)
class Schema:
    """One Avro schema: as written, as fastavro wants it, and its mark in single-object encoding."""

    text: str
    parsed: Any
    mark: bytes
    """Ten bytes: C3 01 and the little-endian CRC-64-AVRO fingerprint."""


def parse(text: str) -> Schema:
    """Read a schema. Raises what json and fastavro raise for a text that is none."""
    raw = json.loads(text)
    # Without a repository of named types, a schema is parsed on its own, whatever was parsed before it.
    parsed = fastavro.parse_schema(raw, named_schemas={})
    crc = avro_fingerprint(to_parsing_canonical_form(raw), "CRC-64-AVRO")
    return Schema(text, parsed, SINGLE_OBJECT_MARK + bytes.fromhex(crc))


def history(name: str) -> list[Schema]:
    """All versions of one of the package's schemas, oldest first."""
    folder = files("worker") / "schemas" / name
    versions = sorted((entry for entry in folder.iterdir()), key=lambda entry: int(entry.name.removesuffix(".avsc")))
    return [parse(entry.read_text("utf-8")) for entry in versions]


def latest(name: str) -> Schema:
    return history(name)[-1]


def by_mark(own_files: Sequence[Path]) -> dict[bytes, Schema]:
    """The schemas known in single-object encoding: every version of image-reference, and the operator's own files."""
    known = {schema.mark: schema for schema in history(IMAGE_REFERENCE)}
    for path in own_files:
        try:
            schema = parse(path.read_text("utf-8"))
        except (OSError, ValueError, fastavro.schema.SchemaParseException, fastavro.schema.UnknownType) as error:
            raise ConfigurationError(f"events.schema_files: {path} is not a readable Avro schema: {error}") from error
        known[schema.mark] = schema
    return known
