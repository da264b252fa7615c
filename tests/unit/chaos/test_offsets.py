"""Records of `__consumer_offsets`, of every version of their schemas, and the requests that bring them."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.chaos.offsets import parse_key, parse_request, parse_value
from tests.unit.chaos.offset_commits import TAGS, commit_request

EPOCH, WHEN, NEVER = (struct.pack(*each) for each in ((">i", 7), (">q", 1_700_000_000_000), (">q", -1)))


def text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def key(version: int) -> bytes:
    return struct.pack(">h", version) + text("group") + text("topic") + struct.pack(">i", 12)


@pytest.mark.parametrize("version", [0, 1])
def test_a_key_names_group_topic_and_partition(version: int) -> None:
    assert parse_key(key(version)) == ("group", "topic", 12)


@pytest.mark.parametrize("version", [2, 3, 9])
def test_a_record_about_a_group_is_none_of_an_offset(version: int) -> None:
    assert parse_key(struct.pack(">h", version) + text("group")) is None


@pytest.mark.parametrize(
    ("version", "rest"),
    [
        (0, text("meta") + WHEN),
        (1, text("meta") + WHEN + NEVER),
        (2, text("meta") + WHEN),
        (3, EPOCH + text("meta") + WHEN),
        (4, EPOCH + b"\x05meta" + WHEN + b"\x00"),
    ],
)
def test_a_value_of_each_version_has_its_offset_and_metadata(version: int, rest: bytes) -> None:
    assert parse_value(struct.pack(">hq", version, 2**40) + rest) == (2**40, "meta")


def test_long_metadata_has_a_length_of_two_bytes() -> None:
    value = struct.pack(">hq", 4, 1) + EPOCH + b"\xa1\x1f" + b"x" * 4000 + WHEN + b"\x00"
    assert parse_value(value) == (1, "x" * 4000)


def test_an_unknown_version_is_an_error_and_not_read_wrongly() -> None:
    with pytest.raises(ValueError, match="version 5"):
        parse_value(struct.pack(">hq", 5, 1) + EPOCH)


@pytest.mark.parametrize("version", [8, 9])
@pytest.mark.parametrize(
    "more",
    [{}, {"instance": "static"}, {"metadata": ""}, {"metadata": "x" * 4000}, {"tags": TAGS, "metadata": "é"}],
)
def test_a_request_has_a_group_and_offsets_of_partitions(version: int, more: dict[str, Any]) -> None:
    topics = {"one": {0: 5, 7: 2**40}, "two": {3: 0}}
    assert parse_request(commit_request("group", topics, version=version, **more)) == (
        "group",
        [("one", 0, 5), ("one", 7, 2**40), ("two", 3, 0)],
    )


@pytest.mark.parametrize("version", [7, 10])
def test_a_request_of_an_unknown_version_is_an_error_and_not_read_wrongly(version: int) -> None:
    with pytest.raises(ValueError, match=f"version {version}"):
        parse_request(commit_request("group", {}, version=version))
