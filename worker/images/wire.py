"""What the pool, its fork server and a decode process say to each other: the memory they share, and the messages.

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
_ANSWER = struct.Struct("<B?32sIIIH")
_FRAME = "I"
_HELLO = struct.Struct("<I")
_SERIAL = struct.Struct("<I")
_DEATH = struct.Struct("<Ii")
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
    """Of the pixels of all frames, rounded up to pages."""

    @property
    def total_bytes(self) -> int:
        return self.slots * (self.input_bytes + self.output_bytes)

    def input_at(self, slot: int) -> int:
        return slot * (self.input_bytes + self.output_bytes)

    def output_at(self, slot: int) -> int:
        return self.input_at(slot) + self.input_bytes


def layout(slots: int, max_bytes: int, pixel_bytes: int) -> Layout:
    """The layout for encoded images, and pixels of all frames of one, of at most these bytes."""
    return Layout(slots, _pages(max_bytes), _pages(pixel_bytes))


def _pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


@dataclass(frozen=True, slots=True)
class Hello:
    """A process stands. Sent before it has read anything from a stranger."""

    pid: int
    open_because: str
    """What `sandbox.confine` returned."""

    def pack(self) -> bytes:
        return _HELLO.pack(self.pid) + self.open_because[:_DETAIL_CHARACTERS].encode()

    @classmethod
    def unpack(cls, message: bytes) -> Hello:
        (pid,) = _HELLO.unpack_from(message)
        return cls(pid, message[_HELLO.size :].decode())


@dataclass(frozen=True, slots=True)
class Death:
    """The fork server's report of a process: the number the pool gave it, and its exit code, -N for signal N."""

    serial: int
    exit_code: int

    def pack(self) -> bytes:
        return _DEATH.pack(self.serial, self.exit_code)

    @classmethod
    def unpack(cls, message: bytes) -> Death:
        return cls(*_DEATH.unpack(message))


def pack_serial(serial: int) -> bytes:
    """The order to fork a process. Its socket and its memory travel with it."""
    return _SERIAL.pack(serial)


def unpack_serial(message: bytes) -> int:
    (serial,) = _SERIAL.unpack(message)
    return int(serial)


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
    frames: tuple[int, ...]
    frame_count: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The image of the slot cannot be done."""

    slot: int
    rejected: Rejected


def pack_done(slot: int, decoded: Decoded) -> bytes:
    frames = decoded.frames
    digest = bytes.fromhex(decoded.sha256)
    head = _ANSWER.pack(slot, True, digest, decoded.width, decoded.height, decoded.frame_count, len(frames))
    return head + struct.pack(f"<{len(frames)}{_FRAME}", *frames) + decoded.format.encode()


def pack_refused(slot: int, rejected: Rejected) -> bytes:
    digest = bytes.fromhex(rejected.sha256 or "")
    detail = " ".join(rejected.detail.split())[:_DETAIL_CHARACTERS]
    text = f"{rejected.reason.value}\0{detail}"
    return _ANSWER.pack(slot, False, digest, 0, 0, 0, 0) + text.encode(errors="replace")


def unpack_answer(message: bytes) -> Done | Refused:
    """Read an answer.

    Raises ValueError, KeyError or struct.error where it is none: its sender is not to be trusted any more.
    """
    slot, done, digest, width, height, frame_count, sampled = _ANSWER.unpack_from(message)
    frames = struct.unpack_from(f"<{sampled}{_FRAME}", message, _ANSWER.size)
    text = message[_ANSWER.size + struct.calcsize(f"<{sampled}{_FRAME}") :].decode()
    if done:
        return Done(slot, width, height, text, digest.hex(), frames, frame_count)
    reason, _, detail = text.partition("\0")
    return Refused(slot, Rejected(_REASONS[reason], detail, sha256=digest.hex()))
