"""The schemas against their history, offline: input BACKWARD_TRANSITIVE, output FULL_TRANSITIVE.

The judge is the checker of the Avro project itself (a port of Java's SchemaCompatibility, which the registry uses).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from io import BytesIO
from itertools import combinations, pairwise
from typing import Any

import avro.schema
import fastavro
import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from worker.kafka.schemas import CLASSIFICATION, IMAGE_REFERENCE, Schema, history, latest, parse

NAMES = (IMAGE_REFERENCE, CLASSIFICATION)
EVENTS: dict[str, dict[str, Any]] = {
    IMAGE_REFERENCE: {"url": "https://example.com/a.jpg", "id": "7", "sha256": "0" * 64},
    CLASSIFICATION: {
        "outcome_id": "an id",
        "source": {"topic": "images", "partition": 3, "offset": 2**40, "timestamp_ms": 1},
        "reference": {"url": None, "id": "7"},
        "image": {"sha256": "0" * 64, "format": "gif", "width": 3, "height": 2, "frames": 9},
        "model": {
            "name": "m",
            "revision": "",
            "fingerprint": "f" * 64,
            "runtime": "torch",
            "precision": "fp32",
            "labels_version": "0123456789ab",
        },
        "scores": [{"label": "cat", "score": 0.75}, {"label": "dog", "score": 0.25}],
        "decision": {"label": "cat", "score": 0.75, "action": "allow", "frame": 4},
        "timing": {
            "event_ms": 1.0,
            "fetch_ms": 2.0,
            "decode_ms": 3.0,
            "wait_ms": 4.0,
            "compute_ms": 5.0,
            "batch_size": 6,
        },
        "classified_at_ms": 1,
        "unscannable": {"reason": "broken_image", "detail": "cut"},
    },
}


def reads(reader: str, writer: str) -> bool:
    """Whether a reader with the one schema reads what was written with the other."""
    schemas = avro.schema.parse(reader), avro.schema.parse(writer)
    verdict = ReaderWriterCompatibilityChecker().get_compatibility(*schemas)
    return bool(verdict.compatibility is SchemaCompatibilityType.compatible)


def backward_transitive(versions: list[str]) -> bool:
    """Whether each version reads what all before it wrote."""
    return all(reads(newer, older) for older, newer in combinations(versions, 2))


def full_transitive(versions: list[str]) -> bool:
    """Whether each version also is read by all before it."""
    return backward_transitive(versions) and all(reads(older, newer) for older, newer in combinations(versions, 2))


def texts(name: str) -> list[str]:
    return [schema.text for schema in history(name)]


def changed(name: str, change: Any) -> str:
    """The latest version after a change of its fields."""
    schema = copy.deepcopy(json.loads(latest(name).text))
    change(schema["fields"])
    return json.dumps(schema)


def add_without_default(fields: list[Any]) -> None:
    fields.append({"name": "new", "type": "string", "doc": "New."})


def add_with_default(fields: list[Any]) -> None:
    fields.append({"name": "new", "type": "string", "default": "", "doc": "New."})


def retype_first(fields: list[Any]) -> None:
    fields[0]["type"] = "long"
    fields[0].pop("default", None)


def remove_first(fields: list[Any]) -> None:
    del fields[0]


def add_nested_without_default(fields: list[Any]) -> None:
    nested = next(field["type"] for field in fields if field["name"] == "model")
    nested["fields"].append({"name": "new", "type": "string", "doc": "New."})


def records(schema: Any) -> Iterator[dict[str, Any]]:
    """Every record in a schema, itself first."""
    if isinstance(schema, list):
        for branch in schema:
            yield from records(branch)
    elif isinstance(schema, dict):
        if schema["type"] == "record":
            yield schema
            for field in schema["fields"]:
                yield from records(field["type"])
        else:
            for inside in ("type", "items", "values"):
                yield from records(schema.get(inside))


def known(schema: Any, value: Any) -> Any:
    """What a schema knows of a value: fields that it lacks are left out."""
    if isinstance(schema, list) and value is not None:
        return known(next(branch for branch in schema if branch != "null"), value)
    if isinstance(schema, dict) and schema["type"] == "array":
        return [known(schema["items"], item) for item in value]
    if isinstance(schema, dict) and schema["type"] == "record":
        return {field["name"]: known(field["type"], value[field["name"]]) for field in schema["fields"]}
    return value


def write(schema: Schema, event: dict[str, Any]) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, schema.parsed, event, strict_allow_default=True)
    return stream.getvalue()


def read(data: bytes, writer: Schema, reader: Schema) -> Any:
    return fastavro.schemaless_reader(BytesIO(data), writer.parsed, reader.parsed)


def test_a_new_worker_reads_every_old_event() -> None:
    assert backward_transitive(texts(IMAGE_REFERENCE))


def test_results_are_read_by_any_version_whatever_version_wrote_them() -> None:
    assert full_transitive(texts(CLASSIFICATION))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", [add_without_default, retype_first])
def test_a_change_that_breaks_new_readers_is_seen(name: str, change: Any) -> None:
    assert not backward_transitive([*texts(name), changed(name, change)])


def test_a_nested_field_without_a_default_is_seen() -> None:
    assert not backward_transitive([*texts(CLASSIFICATION), changed(CLASSIFICATION, add_nested_without_default)])


def test_a_change_that_only_old_readers_cannot_bear_is_seen() -> None:
    versions = [*texts(IMAGE_REFERENCE), changed(IMAGE_REFERENCE, remove_first)]
    assert backward_transitive(versions)
    assert not full_transitive(versions)


def test_a_change_against_an_older_version_than_the_last_is_seen() -> None:
    versions = [
        '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "long"}]}',
        '{"type": "record", "name": "R", "fields": []}',
        '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "string", "default": ""}]}',
    ]
    assert all(reads(newer, older) for older, newer in pairwise(versions))
    assert not backward_transitive(versions)


@pytest.mark.parametrize("name", NAMES)
def test_a_field_with_a_default_may_be_added(name: str) -> None:
    assert full_transitive([*texts(name), changed(name, add_with_default)])


@pytest.mark.parametrize("name", NAMES)
def test_versions_are_numbered_from_one(name: str) -> None:
    from importlib.resources import files

    names = {entry.name for entry in (files("worker") / "schemas" / name).iterdir()}
    assert names == {f"{number}.avsc" for number in range(1, len(history(name)) + 1)}


@pytest.mark.parametrize("name", NAMES)
def test_everything_in_a_schema_is_documented(name: str) -> None:
    for schema in history(name):
        for record in records(json.loads(schema.text)):
            assert record["doc"].strip()
            for field in record["fields"]:
                assert field.get("doc", "").strip(), f"{record['name']}.{field['name']}"


def test_every_field_of_a_result_has_a_default_so_that_it_can_be_dropped_one_day() -> None:
    for schema in history(CLASSIFICATION):
        assert [field["name"] for field in json.loads(schema.text)["fields"] if "default" not in field] == []


def test_an_event_needs_nothing_but_an_address() -> None:
    for schema in history(IMAGE_REFERENCE):
        assert [field["name"] for field in json.loads(schema.text)["fields"] if "default" not in field] == ["url"]


@pytest.mark.parametrize("name", NAMES)
def test_data_of_every_version_is_read_with_the_latest_and_the_other_way_round(name: str) -> None:
    newest, event = latest(name), EVENTS[name]
    for version in history(name):
        schema = json.loads(version.text)
        old = known(schema, event)
        assert known(schema, read(write(version, old), version, newest)) == old, "all that was written is seen"
        if name == CLASSIFICATION:
            assert read(write(newest, event), newest, version) == old


def test_an_old_result_is_of_one_frame_and_not_unscannable() -> None:
    first, newest = history(CLASSIFICATION)[0], latest(CLASSIFICATION)
    old = known(json.loads(first.text), EVENTS[CLASSIFICATION])
    seen = read(write(first, old), first, newest)
    assert (seen["image"]["frames"], seen["decision"]["frame"], seen["unscannable"]) == (1, 0, None)


@pytest.mark.parametrize(
    ("text", "fingerprint"),
    [
        # share/test/data/schema-tests.txt of the Avro project, there as signed numbers.
        ('"null"', 7195948357588979594),
        ('"int"', 8247732601305521295),
        ('"string"', -8142146995180207161),
        ('{"type":"fixed", "name":"foo", "size":15}', 1756455273707447556),
        ('{"type":"record", "name":"foo", "fields":[]}', -4824392279771201922),
    ],
)
def test_the_mark_of_single_object_encoding_is_the_specifications(text: str, fingerprint: int) -> None:
    assert parse(text).mark == b"\xc3\x01" + fingerprint.to_bytes(8, "little", signed=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_mark_is_the_one_that_the_avro_library_gives(name: str) -> None:
    schema = latest(name)
    assert schema.mark[2:] == bytes(avro.schema.parse(schema.text).fingerprint())
