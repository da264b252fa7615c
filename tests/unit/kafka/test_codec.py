"""Events in: every encoding is told apart and read; what cannot be read is refused with a reason, never an error."""

from __future__ import annotations

import base64
import contextlib
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import example, given, strategies

from worker.errors import ConfigurationError, Reason, Rejected
from worker.kafka.codec import EventDecoder, recognise
from worker.kafka.schemas import IMAGE_REFERENCE, latest, parse
from worker.kafka.settings import EventsSettings, FieldsSettings
from worker.records import Coordinates, ImageReference, SourceRecord

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABh6FO1AAAAABJRU5ErkJggg=="
)
MEDIA = (
    '{"type": "record", "name": "Post", "fields": [{"name": "n", "type": "long"}, {"name": "media", "type": {"type": \
"record", "name": "Media", "fields": [{"name": "url", "type": "string"}]}}]}'
)


def record(value: bytes | None) -> SourceRecord:
    return SourceRecord(Coordinates("images", 0, 0), 0, None, value, ())


async def decode(value: bytes | None, **settings: Any) -> ImageReference:
    return await EventDecoder(EventsSettings(**settings), None).decode(record(value))


async def refused(value: bytes | None, **settings: Any) -> Reason:
    with pytest.raises(Rejected) as caught:
        await decode(value, **settings)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def single_object(event: dict[str, Any], text: str | None = None) -> bytes:
    schema = parse(text) if text else latest(IMAGE_REFERENCE)
    stream = BytesIO()
    fastavro.schemaless_writer(stream, schema.parsed, event)
    return schema.mark + stream.getvalue()


async def test_json_is_read() -> None:
    digest = "AB" * 32
    value = json.dumps({"url": "https://example.com/a.jpg", "id": 7, "sha256": digest}).encode()
    assert await decode(value) == ImageReference("https://example.com/a.jpg", None, "7", digest.lower())


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b" \r\n\t"])
async def test_json_is_known_behind_a_byte_order_mark_and_white_space(prefix: bytes) -> None:
    assert (await decode(prefix + b'{"url": "http://h/"}')).address == "http://h/"


async def test_single_object_avro_is_read() -> None:
    value = single_object({"url": "https://example.com/a.jpg", "id": "x", "sha256": None})
    assert await decode(value) == ImageReference("https://example.com/a.jpg", None, "x")


async def test_an_image_is_its_own_event() -> None:
    assert await decode(PNG) == ImageReference(image=PNG)


async def test_fields_are_found_by_paths_in_a_schema_of_the_operators_own(tmp_path: Path) -> None:
    own = tmp_path / "post.avsc"
    own.write_text(MEDIA)
    value = single_object({"n": 3, "media": {"url": "http://h/x"}}, MEDIA)
    fields = FieldsSettings(url="media.url", id="n")
    assert await decode(value, schema_files=(own,), fields=fields) == ImageReference("http://h/x", None, "3")


def test_a_schema_file_that_is_none_is_a_wrong_setting(tmp_path: Path) -> None:
    own = tmp_path / "post.avsc"
    own.write_text('{"type": "recor"}')
    with pytest.raises(ConfigurationError, match=r"events\.schema_files: .*post\.avsc"):
        EventDecoder(EventsSettings(schema_files=(own,)), None)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Reason.EMPTY_VALUE),
        (None, Reason.EMPTY_VALUE),
        (b"hello", Reason.UNRECOGNISED_VALUE),
        (b"[1]", Reason.UNRECOGNISED_VALUE),
        (b"{", Reason.MALFORMED_VALUE),
        (b'{"url": "http://h/"} x', Reason.MALFORMED_VALUE),
        (b'{"url": "\xff"}', Reason.MALFORMED_VALUE),
        (b'{"a":' * 100_000, Reason.MALFORMED_VALUE),
        (b"{}", Reason.MISSING_ADDRESS),
        (b'{"url": null}', Reason.MISSING_ADDRESS),
        (b'{"url": ""}', Reason.MISSING_ADDRESS),
        (b'{"url": 7}', Reason.WRONG_TYPE),
        (b'{"url": ["http://h/"]}', Reason.WRONG_TYPE),
        (b'{"url": "http://h/", "sha256": "abc"}', Reason.WRONG_TYPE),
        (b'{"url": "http://h/", "id": {}}', Reason.WRONG_TYPE),
        (b"\x00\x00\x00\x00\x07abc", Reason.UNKNOWN_SCHEMA),
        (b"\x00\x00", Reason.MALFORMED_VALUE),
        (b"\xc3\x01" + b"\x00" * 8, Reason.UNKNOWN_SCHEMA),
        (b"\xc3\x01\x00", Reason.MALFORMED_VALUE),
        (latest(IMAGE_REFERENCE).mark + b"\xff\xff\xff", Reason.MALFORMED_VALUE),
        (single_object({"url": "http://h/"}) + b"more", Reason.MALFORMED_VALUE),
    ],
)
async def test_what_cannot_be_read_is_refused_with_its_reason(value: bytes | None, reason: Reason) -> None:
    assert await refused(value) is reason


async def test_a_field_that_should_be_an_object_is_of_the_wrong_type() -> None:
    fields = FieldsSettings(url="media.url")
    assert await refused(b'{"media": "http://h/"}', fields=fields) is Reason.WRONG_TYPE
    assert await refused(b'{"other": 1}', fields=fields) is Reason.MISSING_ADDRESS


@given(value=strategies.binary(max_size=200))
@example(b"\x00" * 12)
async def test_any_bytes_are_a_reference_or_a_refusal(value: bytes) -> None:
    with contextlib.suppress(Rejected):
        reference = await decode(value)
        assert (reference.address is None) != (reference.image is None)


@given(value=strategies.binary(max_size=60), encoding=strategies.sampled_from(["confluent", "single-object", "json"]))
async def test_any_bytes_are_refused_or_read_in_an_encoding_that_was_set(value: bytes, encoding: str) -> None:
    with contextlib.suppress(Rejected):
        assert (await decode(value, encoding=encoding)).address


@given(
    url=strategies.text(min_size=1),
    identity=strategies.none() | strategies.text(),
    digest=strategies.none() | strategies.text(alphabet="0123456789abcdef", min_size=64, max_size=64),
)
async def test_an_event_comes_back_from_each_encoding_as_it_was(
    url: str, identity: str | None, digest: str | None
) -> None:
    event = {"url": url, "id": identity, "sha256": digest}
    expected = ImageReference(url, None, identity, digest)
    assert await decode(json.dumps(event).encode()) == expected
    assert await decode(single_object(event)) == expected


@pytest.mark.parametrize(
    ("start", "encoding"),
    [
        (b"\x00\x00\x00\x00\x01", "confluent"),
        (b"\xc3\x01", "single-object"),
        (b"{", "json"),
        (b"\xff\xd8\xff\xe0", "image"),
        (b"GIF89a", "image"),
        (b"RIFF\x00\x01\x02\x03WEBP", "image"),
        (b"\x00\x00\x00\x1cftypavif", "image"),
        (b"\x00\x00\x00\x1cftxpavif", "confluent"),
    ],
)
def test_the_first_bytes_tell_the_encodings_apart(start: bytes, encoding: str) -> None:
    assert recognise(start) == encoding
