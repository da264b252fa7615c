"""Requests to commit offsets as librdkafka sends them: OffsetCommitRequest, in versions 8 and 9."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from tests.chaos.wires import OFFSET_COMMIT

NO_TAGS = b"\x00"
TAGS = b"\x02\x00\x01x\x07\x02yz"
"""Two fields that no version knows yet."""


def commit_request(
    group: str,
    topics: Mapping[str, Mapping[int, int]],
    *,
    version: int = 9,
    correlation: int = 1,
    instance: str | None = None,
    metadata: str | None = None,
    tags: bytes = NO_TAGS,
) -> bytes:
    """With its length of four bytes. `topics`: of each topic's partitions, the offsets."""
    body = struct.pack(">hhi", OFFSET_COMMIT, version, correlation) + struct.pack(">h", 2) + b"me" + tags
    body += _text(group) + struct.pack(">i", 3) + _text("a member") + _text(instance) + _number(len(topics) + 1)
    for topic, offsets in topics.items():
        body += _text(topic) + _number(len(offsets) + 1)
        for partition, offset in offsets.items():
            body += struct.pack(">iqi", partition, offset, 7) + _text(metadata) + tags
        body += tags
    body += tags
    return struct.pack(">i", len(body)) + body


def _text(text: str | None) -> bytes:
    return b"\x00" if text is None else _number(len(text.encode()) + 1) + text.encode()


def _number(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _number(rest) if rest else bytes([low])
