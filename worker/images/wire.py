"""What the pool and a decode process say to each other: the memory they share, and two kinds of message.

A slot's first pages take an encoded image, the pages after it the pixels made of it. The messages say which slot.
Nothing that comes from a decode process is unpickled or trusted: it has read hostile bytes.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass

from worker.errors import Reason, Rejected
from worker.images.decode import Decoded

_JOB = struct.Struct("<BI")
_ANSWER = struct.Struct("<B?32sII")
MESSAGE_BYTES = 4096
_DIGEST_CHARACTERS = 64
_DETAIL_CHARACTERS = 300
_REASONS: dict[str, Reason] = {reason.value: reason for reason in Reason}


@dataclass(frozen=True, slots=True)
class Layout:
    """How the memory shared with one decode process is divided."""

    slots: int
    input_bytes: int
    """Of the largest encoded image, rounded up to pages."""
    output_bytes: int
    """Of the pixels, rounded up to pages."""

    @property
    def total_bytes(self) -> int:
        return self.slots * (self.input_bytes + self.output_bytes)

    def input_at(self, slot: int) -> int:
        return slot * (self.input_bytes + self.output_bytes)

    def output_at(self, slot: int) -> int:
        return self.input_at(slot) + self.input_bytes


def layout(slots: int, max_bytes: int, pixel_bytes: int) -> Layout:
    """The layout for encoded images and pixels of at most these bytes."""
    return Layout(slots, _pages(max_bytes), _pages(pixel_bytes))


def _pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


@dataclass(frozen=True, slots=True)
class Job:
    """An image lies in a slot and wants decoding."""

    slot: int
    size: int
    expected_sha256: str | None

    def pack(self) -> bytes:
        # One character too many is enough to match nothing: the event may state any length of anything.
        digest = (self.expected_sha256 or "")[: _DIGEST_CHARACTERS + 1]
        return _JOB.pack(self.slot, self.size) + digest.encode(errors="replace")

    @classmethod
    def unpack(cls, message: bytes) -> Job:
        slot, size = _JOB.unpack_from(message)
        return cls(slot, size, message[_JOB.size :].decode() or None)


@dataclass(frozen=True, slots=True)
class Done:
    """The pixels lie in the slot."""

    slot: int
    width: int
    height: int
    format: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The image of the slot cannot be done."""

    slot: int
    rejected: Rejected


def pack_done(slot: int, decoded: Decoded) -> bytes:
    head = _ANSWER.pack(slot, True, bytes.fromhex(decoded.sha256), decoded.width, decoded.height)
    return head + decoded.format.encode()


def pack_refused(slot: int, rejected: Rejected) -> bytes:
    digest = bytes.fromhex(rejected.sha256 or "")
    detail = " ".join(rejected.detail.split())[:_DETAIL_CHARACTERS]
    return _ANSWER.pack(slot, False, digest, 0, 0) + f"{rejected.reason.value}\0{detail}".encode(errors="replace")


def unpack_answer(message: bytes) -> Done | Refused:
    """Read an answer.

    Raises ValueError, KeyError or struct.error where it is none: its sender is not to be trusted any more.
    """
    slot, done, digest, width, height = _ANSWER.unpack_from(message)
    text = message[_ANSWER.size :].decode()
    if done:
        return Done(slot, width, height, text, digest.hex())
    reason, _, detail = text.partition("\0")
    return Refused(slot, Rejected(_REASONS[reason], detail, sha256=digest.hex()))
