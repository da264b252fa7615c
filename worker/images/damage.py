"""What is wrong with an image that a decoder gave up on, and whether enough of it was decoded all the same."""

from __future__ import annotations

from PIL import Image, ImageFile

from worker.errors import Reason, Rejected
from worker.images.containers import ends_early

_OUT_OF_MEMORY = ("out of memory", "cannot allocate", "memory allocation", "insufficient memory")
_OTHER_SIZE = ("size signaled", "invalid image size")
"""libheif's words where the pixels are not of the size in the file's head."""
_ENDS = ("truncated", "unexpected end")
_MARKED = (b"\x89PNG", b"GIF8")
"""Formats that have a mark at their end: one that has it was not cut off, whatever its decoder misses."""


def verdict(error: Exception, data: bytes) -> Rejected:
    """The reason for a decoder's error: one of the decode stage's, BROKEN_IMAGE where nothing better is known."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, Rejected):
        return error if error.reason is not Reason.BROKEN_IMAGE or not ends_early(data) else _truncated(error.detail)
    if isinstance(error, Image.DecompressionBombError):
        return Rejected(Reason.TOO_MANY_PIXELS, str(error))
    if isinstance(error, MemoryError) or _says(text, _OUT_OF_MEMORY):
        return Rejected(Reason.DECODE_OUT_OF_MEMORY, "decoding needs more memory than allowed")
    if ends_early(data):
        return _truncated(text)
    if _says(text, _ENDS) and not data.startswith(_MARKED):
        return _truncated(text)
    return Rejected(Reason.SIZE_MISMATCH if _says(text, _OTHER_SIZE) else Reason.BROKEN_IMAGE, text)


def load(image: ImageFile.ImageFile, data: bytes, rows_missing: float) -> None:
    """Decode the image's pixels, or, where its file ends early, all rows but this share of them; the others stay black.

    Raises what the decoder raises. Only a JPEG or PNG whose rows come one after the other tells how many there are.
    """
    try:
        image.load()
    except OSError as error:
        if not rows_missing or verdict(error, data).reason is not Reason.TRUNCATED:
            raise
        image.tile = []  # what Pillow does after a decoder's end: what it has now is the image
        if _share_missing(image) > rows_missing:
            raise


def _share_missing(image: ImageFile.ImageFile) -> float:
    """The share of rows at the bottom that are as they were before decoding: zero. 1 where the format cannot say."""
    if image.format not in ("JPEG", "MPO", "PNG") or image.info.get("interlace"):
        return 1.0
    box = image.getbbox(alpha_only=False)
    return 1.0 - box[3] / image.height if box else 1.0


def _truncated(text: str) -> Rejected:
    return Rejected(Reason.TRUNCATED, text)


def _says(text: str, words: tuple[str, ...]) -> bool:
    return any(word in text.lower() for word in words)
