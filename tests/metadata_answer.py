"""What a broker answers to a Metadata request (versions 10 to 13), read as far as to leave a partition out of it."""

from __future__ import annotations

import struct

VERSIONS = range(10, 14)
_NEWER = 1000
"""A leader epoch that no real one reaches here."""


class _Cursor:
    """Reads the protocol's types one after the other: those of its flexible versions, which count from 1 (KIP-482)."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def skip(self, length: int) -> None:
        self.at += length

    def count(self) -> int:
        """Of an array or a string; 0 where it is null."""
        return max(0, self._varint() - 1)

    def string(self) -> bytes:
        length = self.count()
        self.skip(length)
        return self.data[self.at - length : self.at]

    def int32(self) -> int:
        self.skip(4)
        (number,) = struct.unpack_from(">i", self.data, self.at - 4)
        return int(number)

    def tags(self) -> None:
        assert self._varint() == 0, "a tagged field, which no version has so far"

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7


def without(answer: bytes, topic: str, partition: int) -> bytes | None:
    """The answer (its length of four bytes first) without this partition, the next one of which has a newer leader.

    None where it says nothing of the partition.
    """
    cursor = _Cursor(answer, 8)
    cursor.tags()
    cursor.skip(4)
    for _ in range(cursor.count()):
        cursor.skip(4)
        cursor.string()
        cursor.skip(4)
        cursor.string()
        cursor.tags()
    cursor.string()
    cursor.skip(4)
    for _ in range(cursor.count()):
        cursor.skip(2)
        name = cursor.string()
        cursor.skip(16 + 1)
        counted_at, entries = cursor.at, _partitions(cursor)
        if name == topic.encode() and partition in entries:
            return _cut(answer, counted_at, entries, partition)
        cursor.skip(4)
        cursor.tags()
    return None


def _partitions(cursor: _Cursor) -> dict[int, tuple[int, int]]:
    """Where each one begins and ends."""
    found = {}
    for _ in range(cursor.count()):
        begin = cursor.at
        cursor.skip(2)
        number = cursor.int32()
        cursor.skip(4 + 4)
        for _ in ("replicas", "in sync", "offline"):
            cursor.skip(4 * cursor.count())
        cursor.tags()
        found[number] = (begin, cursor.at)
    return found


def _cut(answer: bytes, counted_at: int, entries: dict[int, tuple[int, int]], partition: int) -> bytes:
    assert len(entries) < 127, "a count of more than one byte"
    changed = bytearray(answer)
    changed[counted_at] -= 1
    epoch_at = entries[partition + 1][0] + 2 + 4 + 4
    changed[epoch_at : epoch_at + 4] = struct.pack(">i", _NEWER)
    begin, end = entries[partition]
    del changed[begin:end]
    changed[:4] = struct.pack(">i", len(changed) - 4)
    return bytes(changed)
