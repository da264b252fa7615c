"""Records of `__consumer_offsets`, as Kafka's schemas OffsetCommitKey and OffsetCommitValue lay them out. PURE."""

from __future__ import annotations

import struct

_OFFSET_COMMIT_KEYS = (0, 1)
"""Record types: version 0 and 1 of the key, which are laid out alike. Others are about groups and their members."""


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
    return offset, _compact_text(value, at) if version >= 4 else _text(value, at)[0]


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">h", data, at)
    return data[at + 2 : at + 2 + length].decode(), at + 2 + length


def _compact_text(data: bytes, at: int) -> str:
    """Its length plus one comes before it, seven bits a byte, the lowest first."""
    length = shift = 0
    while True:
        length |= (data[at] & 0x7F) << shift
        at, shift, more = at + 1, shift + 7, data[at] & 0x80
        if not more:
            return data[at : at + length - 1].decode()
