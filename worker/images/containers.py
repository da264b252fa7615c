"""What the containers of images say of themselves: walked without a decoder, and never further than asked. PURE."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Literal

_BOX_BRANDS = 64
"""More brands than any file lists."""
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
"""The next JPEG marker that begins or ends something: no stuffed zero, restart or fill."""
SOS, EOI, SOI = 0xDA, 0xD9, 0xD8
_PNG, _TIFF_LITTLE, _TIFF_BIG = b"\x89PNG\r\n\x1a\n", b"II", b"MM"


def brands(data: bytes) -> set[bytes]:
    """The brands in the `ftyp` box of an ISO base media file (AVIF, HEIC, films), none where it is none."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4]), 16 + 4 * _BOX_BRANDS, len(data) - 3)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """The markers of a JPEG's segments up to its first EOI, and where the segment after each begins (its length).

    A picture inside a segment (a thumbnail in EXIF) and one after the EOI (MPO) are not walked into.
    """
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        marker, at = data[found.start() + 1], found.end()
        if marker == EOI:
            return
        yield marker, at
        if marker != SOI:
            at += max(int.from_bytes(data[at : at + 2]), 2)


def gif_frames(data: bytes, limit: int) -> tuple[int, bool]:
    """The number of frames, counted no further than one above the limit, and whether the end was reached."""
    count, at = 0, 13 + _palette_bytes(data, 10)
    while at < len(data) and count <= limit:
        if data[at] == 0x3B:
            return count, True
        if data[at] == 0x2C:
            count += 1
            at = _after_blocks(data, at + 11 + _palette_bytes(data, at + 9))
        else:
            # An extension, or bytes that belong to nothing, which decoders step over.
            at = _after_blocks(data, at + 2) if data[at] == 0x21 else at + 1
    return count, False


def _palette_bytes(data: bytes, at: int) -> int:
    flags = data[at] if at < len(data) else 0
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1


def tiff_pages(data: bytes, limit: int) -> int:
    """The number of pages, counted no further than one above the limit."""
    seen: set[int] = set()
    at = _tiff_directory(data)
    while at and at not in seen and len(seen) <= limit:
        seen.add(at)
        at = _next_directory(data, at)
    return len(seen)


def _tiff_directory(data: bytes) -> int:
    """Where the first directory of tags is, 0 where the head says nothing."""
    at, size = (8, 8) if _is_big(data) else (4, 4)
    return int.from_bytes(data[at : at + size], _order(data))


def _next_directory(data: bytes, at: int) -> int:
    link = _directory_end(data, at)
    return int.from_bytes(data[link : link + (8 if _is_big(data) else 4)], _order(data))


def _directory_end(data: bytes, at: int) -> int:
    counted, entry = (8, 20) if _is_big(data) else (2, 12)
    return at + counted + entry * int.from_bytes(data[at : at + counted], _order(data))


def _order(data: bytes) -> Literal["little", "big"]:
    return "little" if data[:2] == _TIFF_LITTLE else "big"


def _is_big(data: bytes) -> bool:
    return int.from_bytes(data[2:4], _order(data)) == 43


def webp_sizes(data: bytes) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Canvas and picture of a still WebP of the extended kind, None for other files."""
    if data[12:16] != b"VP8X" or len(data) < 30:
        return None
    canvas = 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    for name, at, _ in _riff_chunks(data, 30):
        if name == b"VP8 ":
            width, height = struct.unpack_from("<HH", data[at : at + 10].ljust(10, b"\0"), 6)
            return canvas, (width & 0x3FFF, height & 0x3FFF)
        if name == b"VP8L":
            bits = int.from_bytes(data[at + 1 : at + 5], "little")
            return canvas, ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        if name == b"ANMF":
            return None
    return None


def _riff_chunks(data: bytes, at: int) -> Iterator[tuple[bytes, int, int]]:
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], at + 8, size
        at += 8 + size + (size & 1)


def ends_early(data: bytes) -> bool:
    """Whether the file ends before its container does. False too where the container does not say (JPEG, BMP)."""
    if data.startswith(_PNG):
        return _png_ends_early(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return not gif_frames(data, len(data))[1]
    if data.startswith(b"RIFF"):
        return 8 + int.from_bytes(data[4:8], "little") > len(data)
    if data[4:8] == b"ftyp":
        return _boxes_end_early(data)
    if data.startswith((_TIFF_LITTLE, _TIFF_BIG)):
        return _directory_end(data, _tiff_directory(data)) > len(data)
    return False


def _png_ends_early(data: bytes) -> bool:
    at = len(_PNG)
    while at + 12 <= len(data):
        name = data[at + 4 : at + 8]
        if name == b"IEND" or not name.isalpha():  # the end, or damage
            return False
        at += 12 + int.from_bytes(data[at : at + 4])
    return True


def _boxes_end_early(data: bytes) -> bool:
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4])
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16])
        if size < 8:  # 0: up to the end, wherever that is; else no box at all
            return False
        at += size
    return at != len(data)
