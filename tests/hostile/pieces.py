"""What image files are made of: their kind, their chunks, segments or boxes, and where sizes and lengths stand."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

_PNG = b"\x89PNG\r\n\x1a\n"
_KINDS: tuple[tuple[str, bytes], ...] = (
    ("png", rb"\x89PNG\r\n\x1a\n"),
    ("jpeg", rb"\xff\xd8\xff"),
    ("gif", rb"GIF8[79]a"),
    ("webp", rb"RIFF....WEBP"),
    ("avif", rb"....ftyp(?:avif|avis|mif1)"),
    ("bmp", rb"BM"),
    ("tiff", rb"II\*\0|MM\0\*"),
)
_BLOCK_BYTES = 64


def kind(data: bytes | bytearray) -> str:
    """The format by its first bytes, in lower case; empty where it is none that can be decoded."""
    return next((name for name, pattern in _KINDS if re.match(pattern, data, re.DOTALL)), "")


@dataclass(frozen=True, slots=True)
class Field:
    """A number in a file. `pattern` is struct's."""

    at: int
    pattern: str

    def value(self, data: bytearray) -> int:
        return int(struct.unpack_from(self.pattern, data, self.at)[0])

    def put(self, data: bytearray, value: int) -> None:
        """Write it, cut to what fits."""
        struct.pack_into(self.pattern, data, self.at, value & (256 ** struct.calcsize(self.pattern) - 1))


def split(data: bytearray) -> list[bytearray]:
    """The file in pieces, which joined give the file: chunks, segments, boxes, or blocks of 64 bytes. At least one."""
    starts = sorted({0, *_starts(data)} - {len(data)}) or [0]
    return [data[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True)]


def _starts(data: bytearray) -> list[int]:
    match kind(data):
        case "png":
            return [at for at, _ in _png_chunks(data)]
        case "jpeg":
            return [found.start() for found in re.finditer(rb"\xff[\xc0-\xcf\xd8-\xfe]", data)]
        case "webp":
            return _walk(data, 12, "<I", 4, 8, even=True)
        case "avif":
            return _walk(data, 0, ">I", 0, 0)
        case "gif":
            return [found.start() for found in re.finditer(rb"\x21[\xf9\xfe\xff]|\x2c", data)]
    return list(range(0, len(data), _BLOCK_BYTES))


def _walk(data: bytearray, at: int, pattern: str, length_at: int, more: int, *, even: bool = False) -> list[int]:
    """Where pieces begin that say their own length."""
    starts = []
    while at + length_at + 4 <= len(data):
        starts.append(at)
        step = int(struct.unpack_from(pattern, data, at + length_at)[0]) + more
        at += max(4, step + (step % 2 if even else 0))
    return starts


def _png_chunks(data: bytearray) -> list[tuple[int, int]]:
    """Start and length of each chunk."""
    chunks, at = [], len(_PNG)
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((at, length))
        at += length + 12
    return chunks


def png_chunk(name: bytes, content: bytes) -> bytearray:
    """A whole chunk with its right checksum."""
    return bytearray(struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content)))


def with_right_checksums(data: bytearray) -> bytearray:
    """A PNG whose chunks have right checksums; any other file as it is."""
    if kind(data) == "png":
        for at, length in _png_chunks(data):
            if at + length + 12 <= len(data):
                struct.pack_into(">I", data, at + 8 + length, zlib.crc32(data[at + 4 : at + 8 + length]))
    return data


def sizes(data: bytearray) -> list[Field]:
    """Where the file declares width and height, of its canvas or of its frames."""
    found: list[Field] = []
    match kind(data):
        case "png":
            found = [Field(16, ">I"), Field(20, ">I")]
        case "jpeg":
            heads = [match.start() for match in re.finditer(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]", data)]
            found = [Field(head + offset, ">H") for head in heads[:2] for offset in (5, 7)]
        case "gif":
            frames = [match.start() for match in re.finditer(rb"\x2c", data)]
            found = [Field(at, "<H") for at in (6, 8)]
            found += [Field(frame + offset, "<H") for frame in frames[:2] for offset in (5, 7)]
        case "webp":
            found = [Field(at, "<H") for at in ((24, 27) if data[12:16] == b"VP8X" else (21, 23, 26, 28))]
        case "avif":
            boxes = [match.start() for match in re.finditer(rb"ispe", data)]
            found = [Field(box + offset, ">I") for box in boxes for offset in (8, 12)]
        case "bmp":
            found = [Field(18, "<I"), Field(22, "<I")]
        case "tiff":
            found = _tiff_sizes(data)
    return _inside(found, data)


def _tiff_sizes(data: bytearray) -> list[Field]:
    """The values of the tags ImageWidth and ImageLength, wherever they stand."""
    order = "<" if data[:2] == b"II" else ">"
    tags = [re.escape(struct.pack(order + "HHI", tag, kind, 1)) for tag in (256, 257) for kind in (3, 4)]
    return [Field(match.start() + 8, order + "I") for match in re.finditer(b"|".join(tags), data)]


def lengths(data: bytearray) -> list[Field]:
    """Where a chunk, segment or box says how long it is."""
    starts = _starts(data)
    match kind(data):
        case "png" | "avif":
            found = [Field(at, ">I") for at in starts]
        case "jpeg":
            found = [Field(at + 2, ">H") for at in starts]
        case "webp":
            found = [Field(4, "<I"), *(Field(at + 4, "<I") for at in starts)]
        case _:
            found = []
    return _inside(found, data)


def _inside(fields: list[Field], data: bytearray) -> list[Field]:
    return [field for field in fields if field.at + struct.calcsize(field.pattern) <= len(data)]
