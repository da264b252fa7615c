"""The size of the pictures inside an AVIF, read from their own heads. PURE.

libavif decodes a picture at the size that its AV1 data has and scales it to the one that the file declares, and looks
at no limit but its own of 268 million pixels: 800 bytes that declare 100x100 can be that much work.
Names are those of ISO/IEC 14496-12 (boxes) and of the AV1 specification (OBUs, sequence header, section 5.5).
"""

from __future__ import annotations

from collections.abc import Iterator

from worker.images.containers import brands

_CONTAINERS = {b"meta": 4, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0}
"""Boxes that hold boxes, and the bytes before the first of them."""
_SEQUENCE_HEADER = 1
_MOST = 10_000
"""Boxes or places that are looked at; a grid of a large photograph has some hundred."""
_MOST_OBUS = 100_000
"""A frame has about three."""


def largest_picture(data: bytes) -> tuple[int, int] | None:
    """Width and height of the picture with most pixels in an AVIF, None where none is found.

    Raises ValueError for one of more OBUs than any animation has.
    """
    if not brands(data) & {b"avif", b"avis"}:
        return None
    seen: set[int] = set()
    sizes = [size for place in _places(data) for size in _sequence_sizes(data, place, seen)]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _places(data: bytes) -> set[int]:
    """Where items' data and the chunks of tracks begin."""
    inline = next((at for name, at, _ in _boxes(data, 0, len(data)) if name == b"idat"), 0)
    found: set[int] = set()
    for name, at, _ in _boxes(data, 0, len(data)):
        if name in (b"stco", b"co64"):
            size = 4 if name == b"stco" else 8
            count = min(_number(data, at + 4, 4), _MOST)
            found.update(_number(data, at + 8 + size * index, size) for index in range(count))
        elif name == b"iloc":
            found.update(_extents(data, at, inline))
        if len(found) >= _MOST:
            break
    return found


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, begin and end of the content of each box, those in boxes too."""
    for _ in range(_MOST):
        size, begin = _number(data, at, 4), at + 8
        if size == 1:
            size, begin = _number(data, at + 8, 8), at + 16
        last = end if size == 0 else min(at + size, end)
        if begin > last:
            return
        name = data[at + 4 : at + 8]
        yield name, begin, last
        if name in _CONTAINERS:
            yield from _boxes(data, begin + _CONTAINERS[name], last)
        at = last


def _extents(data: bytes, at: int, inline: int) -> Iterator[int]:
    """Where the first extent of each item of an `iloc` box begins."""
    version, sizes = _number(data, at, 1), _number(data, at + 4, 2)
    offset, length, base, index = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15 if version else 0
    wide = 4 if version == 2 else 2
    count = min(_number(data, at + 6, wide), _MOST)
    at += 6 + wide
    for _ in range(count):
        method = _number(data, at + wide, 2) & 15 if version else 0
        at += wide + (4 if version else 2)
        origin = _number(data, at, base) + (inline if method == 1 else 0)
        extents = _number(data, at + base, 2)
        yield origin + _number(data, at + base + 2 + index, offset)
        at += base + 2 + extents * (index + offset + length)


def _sequence_sizes(data: bytes, at: int, seen: set[int]) -> Iterator[tuple[int, int]]:
    """The sizes in the sequence headers of the OBUs from here on, up to what was seen or is no OBU with a size."""
    while at + 2 <= len(data) and data[at] & 0x82 == 0x02 and at not in seen:
        seen.add(at)
        if len(seen) > _MOST_OBUS:
            raise ValueError(f"an AVIF of more than {_MOST_OBUS} OBUs")
        kind, begin = data[at] >> 3 & 15, at + (2 if data[at] & 4 else 1)
        size, begin = _leb128(data, begin)
        if kind == _SEQUENCE_HEADER:
            yield _Bits(data[begin : begin + size]).sequence_size()
        at = begin + size


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 56, 7):
        byte = _number(data, at, 1)
        value, at = value | (byte & 0x7F) << shift, at + 1
        if not byte & 0x80:
            break
    return value, at


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size])


class _Bits:
    """A sequence header, read bit after bit; beyond its end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._left = 8 * 64
        self._value = int.from_bytes(data[:64].ljust(64, b"\0"))

    def take(self, count: int) -> int:
        self._left = max(self._left - count, 0)
        return self._value >> self._left & (1 << count) - 1

    def sequence_size(self) -> tuple[int, int]:
        """max_frame_width_minus_1 + 1 and max_frame_height_minus_1 + 1."""
        self.take(4)  # seq_profile, still_picture
        if self.take(1):  # reduced_still_picture_header
            self.take(5)
        else:
            self._operating_points(*self._timing())
        across, down = self.take(4) + 1, self.take(4) + 1
        return self.take(across) + 1, self.take(down) + 1

    def _timing(self) -> tuple[bool, int]:
        """Whether there is a decoder model, and the bits of its delays."""
        if not self.take(1):
            return False, 0
        self.take(64)
        if self.take(1):  # equal_picture_interval
            self._uvlc()
        if not self.take(1):
            return False, 0
        delay = self.take(5) + 1
        self.take(42)
        return True, delay

    def _operating_points(self, model: bool, delay: int) -> None:
        display_delays = self.take(1)
        for _ in range(self.take(5) + 1):
            self.take(12)
            if self.take(5) > 7:
                self.take(1)
            if model and self.take(1):
                self.take(2 * delay + 1)
            if display_delays and self.take(1):
                self.take(4)

    def _uvlc(self) -> None:
        zeros = 0
        while zeros < 32 and not self.take(1):
            zeros += 1
        self.take(zeros)
