"""Small files that are much work for a decoder, each made in memory, with the limit that is there for it.

The tests hold that each is refused for its reason; `python -m benchmarks.bombs` measures what each costs without.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from PIL import Image

from worker.errors import Reason
from worker.images.settings import ImagesSettings

HUGE = 16_000
"""Pixels along each edge of most pixel bombs: 256 million, five times what is allowed."""


@dataclass(frozen=True, slots=True)
class Bomb:
    """One kind of bomb."""

    name: str
    make: Callable[[], bytes]
    reason: Reason
    limit: str | None
    """The setting that refuses it, None where the limit is built in."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What a worker that meets it has asked for, over the defaults."""

    def row(self) -> tuple[str, str, str, str]:
        """What docs/limits.md has to say of it: name, setting, default and reason."""
        if self.limit is None:
            return self.name, "built in", "", f"`{self.reason}`"
        return self.name, f"`images.{self.limit}`", f"{getattr(ImagesSettings(), self.limit):,}", f"`{self.reason}`"


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A black PNG of one bit a pixel, with other chunks before its pixels."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + -(-width // 8)) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def unpacked(name: bytes) -> bytes:
    """A PNG whose text or profile is 100 MB of zeros, compressed."""
    return png(8, 8, chunk(name, b"name\0\0" + zlib.compress(bytes(100_000_000), 9)))


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def small(format: str, **options: Any) -> bytes:
    return saved(Image.new("RGB", (64, 64), "teal"), format, **options)


def jpeg(width: int, height: int) -> bytes:
    """A progressive JPEG of 64x64 whose head says more: libjpeg makes the rest up, and holds all of it at once."""
    data = bytearray(small("JPEG", progressive=True))
    at = data.index(b"\xff\xc2")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def scans(count: int, edge: int = 5000, thumbnail: bytes = b"") -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = saved(Image.new("RGB", (edge, edge), "teal"), "JPEG", progressive=True, comment=thumbnail)
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * count + data[-2:]


def segments(count: int) -> bytes:
    """A JPEG whose EXIF comes in pieces of one byte."""
    data = small("JPEG")
    return data[:2] + (b"\xff\xe1" + struct.pack(">H", 9) + b"Exif\0\0x") * count + data[2:]


def webp(width: int, height: int) -> bytes:
    """A lossless WebP of one colour: its bits are the same for every size."""
    data = bytearray(small("WEBP", lossless=True))
    bits = int.from_bytes(data[21:25], "little") >> 28 << 28
    data[21:25] = (bits | (height - 1) << 14 | (width - 1)).to_bytes(4, "little")
    return bytes(data)


def gif(width: int, height: int) -> bytes:
    """A GIF of one small frame on a large screen."""
    data = small("GIF")
    return data[:6] + struct.pack("<HH", width, height) + data[10:]


def iso(format: str, width: int, height: int, edge: int = 64) -> bytes:
    """An AVIF or HEIC with a grey picture of edge x edge, whose head says that it is width x height."""
    if format == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    data = bytearray(saved(Image.new("L", (edge, edge), 99), format, **({"speed": 10} if format == "AVIF" else {})))
    at = data.index(b"ispe")
    data[at + 8 : at + 16] = struct.pack(">II", width, height)
    return bytes(data)


def bmp(width: int, height: int) -> bytes:
    """A BMP of run lengths with one pixel in each row: its decoder fills up the rest, in Python."""
    rows, start = b"\1\0\0\0" * height + b"\0\1", 14 + 40 + 1024
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + head + bytes(1024) + rows


def tiff(width: int, height: int) -> bytes:
    """A black TIFF of one bit a pixel in one strip."""
    strip = zlib.compress(bytes(-(-width // 8) * height), 9)
    tags = {256: width, 257: height, 258: 1, 259: 8, 262: 1, 273: 8, 277: 1, 278: height, 279: len(strip)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + struct.pack("<H", len(tags)) + entries + bytes(4)


def animation(frames: int, edge: int) -> bytes:
    """A GIF of many frames of one pixel, each of which a viewer composes on the whole screen."""
    head = b"GIF89a" + struct.pack("<HHBBB", edge, edge, 0x80, 0, 0) + bytes([0, 0, 0, 255, 255, 255])
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return head + frame * frames + b";"


BOMBS = (
    Bomb("pixels in a JPEG", lambda: jpeg(HUGE, HUGE), Reason.TOO_MANY_PIXELS, "max_pixels"),
    Bomb("pixels in a PNG", lambda: png(HUGE, HUGE), Reason.TOO_MANY_PIXELS, "max_pixels"),
    Bomb("pixels in a WebP", lambda: webp(HUGE, HUGE), Reason.TOO_MANY_PIXELS, "max_pixels"),
    Bomb("pixels in a GIF", lambda: gif(HUGE, HUGE), Reason.TOO_MANY_PIXELS, "max_pixels"),
    Bomb("pixels in an AVIF", lambda: iso("AVIF", HUGE, HUGE), Reason.TOO_MANY_PIXELS, "max_pixels"),
    Bomb(
        "pixels in a HEIC",
        lambda: iso("HEIF", HUGE, HUGE),
        Reason.TOO_MANY_PIXELS,
        "max_pixels",
        {"formats": ("heic",)},
    ),
    Bomb("pixels in a TIFF", lambda: tiff(HUGE, HUGE), Reason.TOO_MANY_PIXELS, "max_pixels", {"formats": ("tiff",)}),
    Bomb("pixels in a BMP", lambda: bmp(HUGE, HUGE), Reason.TOO_MANY_PIXELS, "max_pixels", {"formats": ("bmp",)}),
    Bomb("a long edge", lambda: jpeg(65_000, 700), Reason.EDGE_TOO_LONG, "max_edge_pixels"),
    Bomb("a sliver", lambda: png(3, 30_000), Reason.ASPECT_TOO_EXTREME, "max_aspect_ratio"),
    Bomb("300 frames", lambda: animation(300, 1000), Reason.TOO_MANY_FRAMES, "max_frames", {"frames": 2}),
    Bomb("10,000 frames", lambda: animation(10_000, 1000), Reason.TOO_MANY_FRAMES, "max_frames", {"frames": 2}),
    Bomb(
        "the last frame of 256 large ones",
        lambda: animation(256, 4000),
        Reason.TOO_MANY_FRAMES,
        "max_scan_pixels",
        {"frames": 2},
    ),
    Bomb("1,000 scans", lambda: scans(1000), Reason.TOO_MANY_SCANS, "max_scan_pixels"),
    Bomb("9 million pixels declared as 10,000", lambda: iso("AVIF", 100, 100, 3000), Reason.SIZE_MISMATCH, None),
    Bomb("EXIF in a million pieces", lambda: segments(1_000_000), Reason.BROKEN_IMAGE, None),
    Bomb("text of 100 MB in a PNG", lambda: unpacked(b"zTXt"), Reason.BROKEN_IMAGE, None),
    Bomb("a profile of 100 MB in a PNG", lambda: unpacked(b"iCCP"), Reason.BROKEN_IMAGE, None),
)
