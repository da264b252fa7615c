"""What an image's head, or its markers, ask of the decoder: counted in the bytes before the decoder gets them."""

from __future__ import annotations

from itertools import islice

from worker.errors import Reason, Rejected
from worker.images.av1 import largest_picture
from worker.images.containers import SOS, jpeg_segments, webp_sizes
from worker.images.limits import DecodeLimits, refuse_other_size

_JPEG = b"\xff\xd8\xff"
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0 to SOF15, between which DHT, JPG and DAC are. Of each four the third is progressive."""
_HEAD_SEGMENTS = 4096
"""Segments before the first scan. A large ICC profile takes 255, a photograph has some ten; Pillow's time for EXIF that
is cut into small ones grows with the square of their number: 11 MB take 40 s."""


def refuse_head(data: bytes) -> bool:
    """Raises Rejected with BROKEN_IMAGE for a JPEG with more segments before its first scan than any file needs.

    Returns whether its decoder would take more scans than the first: libjpeg's `has_multiple_scans`.
    """
    if not data.startswith(_JPEG):
        return False
    progressive, layers = False, 0
    for number, (marker, at) in enumerate(jpeg_segments(data)):
        if marker == SOS:
            return progressive or data[at + 2 : at + 3] < bytes([layers])
        if marker in _FRAME_HEADERS:
            progressive, layers = marker & 3 == 2, data[at + 7] if at + 7 < len(data) else 0
        if number == _HEAD_SEGMENTS:
            raise Rejected(Reason.BROKEN_IMAGE, f"the JPEG has more than {_HEAD_SEGMENTS} segments before its pixels")
    return False


def refuse_scans(data: bytes, pixels: int, limits: DecodeLimits) -> None:
    """Raises Rejected with TOO_MANY_SCANS: a decoder goes over all pixels of a JPEG once for each of its scans.

    Markers in a thumbnail or in a second picture are among those that are cheap to count: only where these are too
    many the segments are walked, no further than the limit.
    """
    most = limits.max_scan_pixels // pixels
    if data.count(b"\xff\xda") <= most:
        return
    scans = (marker for marker, _ in jpeg_segments(data) if marker == SOS)
    if sum(1 for _ in islice(scans, most + 1)) > most:
        raise Rejected(
            Reason.TOO_MANY_SCANS, f"more than {most} scans of {pixels} pixels, {limits.max_scan_pixels} in all"
        )


def refuse_other_canvas(data: bytes) -> None:
    """Raises Rejected with SIZE_MISMATCH for a still WebP whose canvas is of another size than its picture."""
    sizes = webp_sizes(data)
    if sizes is not None:
        refuse_other_size(*sizes)


def refuse_larger_picture(data: bytes, declared: tuple[int, int]) -> None:
    """Raises Rejected with SIZE_MISMATCH for an AVIF with more pixels inside than it declares."""
    found = largest_picture(data)
    if found is None:
        return
    # A tile of a grid may hang over the picture's edges.
    allowed = declared[0] * declared[1] * (4 if b"grid" in data else 1)
    if found[0] * found[1] > allowed:
        refuse_other_size(declared, found)
