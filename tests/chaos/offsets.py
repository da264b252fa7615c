"""Committed offsets: records of `__consumer_offsets`, and the requests that bring them. PURE.

As Kafka's schemas OffsetCommitKey, OffsetCommitValue and OffsetCommitRequest lay them out.
"""

from __future__ import annotations

import struct

_OFFSET_COMMIT_KEYS = (0, 1)
"""Record types: version 0 and 1 of the key, which are laid out alike. Others are about groups and their members."""
_REQUESTS = (8, 9)
"""Versions of the request, which are laid out alike: librdkafka 2.16 sends the last one."""


def parse_key(key: bytes) -> tuple[str, str, int] | None:
    """Group, topic and partition of a committed offset; None where the record is about something else."""
    (kind,) = struct.unpack_from(">h", key)
    if kind not in _OFFSET_COMMIT_KEYS:
        return None
    group, at = _text(key, 2)
    topic, at = _text(key, at)
    (partition,) = struct.unpack_from(">i", key, at)
    return group, topic, partition


def parse_value(value: bytes) -> tuple[int, str]:
    """The offset, and the metadata that was committed with it. ValueError where the version is not known."""
    version, offset = struct.unpack_from(">hq", value)
    if not 0 <= version <= 4:
        raise ValueError(f"version {version} of OffsetCommitValue is not known")
    at = 14 if version >= 3 else 10  # behind the leader epoch, where there is one
    return offset, (_compact_text(value, at) if version >= 4 else _text(value, at))[0]


def parse_request(request: bytes) -> tuple[str, list[tuple[str, int, int]]]:
    """The group, and topic, partition and offset of each commit. The request begins with its length of four bytes.

    ValueError where the version is not known.
    """
    (version,) = struct.unpack_from(">h", request, 6)
    if version not in _REQUESTS:
        raise ValueError(f"version {version} of OffsetCommitRequest is not known")
    _client, at = _text(request, 12)
    group, at = _compact_text(request, _behind_tags(request, at))
    _member, at = _compact_text(request, at + 4)  # behind the generation
    _instance, at = _compact_text(request, at)
    topics, at = _number(request, at)
    commits = []
    for _ in range(topics - 1):
        topic, at = _compact_text(request, at)
        partitions, at = _number(request, at)
        for _ in range(partitions - 1):
            partition, offset = struct.unpack_from(">iq", request, at)
            commits.append((topic, partition, offset))
            _metadata, at = _compact_text(request, at + 16)  # behind the leader epoch
            at = _behind_tags(request, at)
        at = _behind_tags(request, at)
    return group, commits


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">h", data, at)
    return data[at + 2 : at + 2 + length].decode(), at + 2 + length


def _compact_text(data: bytes, at: int) -> tuple[str, int]:
    """Its length plus one comes before it; 0 is none at all."""
    length, at = _number(data, at)
    end = at + max(0, length - 1)
    return data[at:end].decode(), end


def _behind_tags(data: bytes, at: int) -> int:
    count, at = _number(data, at)
    for _ in range(count):
        _tag, at = _number(data, at)
        size, at = _number(data, at)
        at += size
    return at


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first."""
    number = shift = 0
    while True:
        number |= (data[at] & 0x7F) << shift
        at, shift, more = at + 1, shift + 7, data[at] & 0x80
        if not more:
            return number, at
