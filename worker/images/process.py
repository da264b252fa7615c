"""The parent's side of the decode processes: one handle for each."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from worker.errors import Rejected
from worker.images import wire
from worker.records import EncodedImage, Pixels

if TYPE_CHECKING:
    import asyncio

    from worker.images.forks import ForkServer

_CPUCLOCK_SCHED = 2
_TRIM_BYTES = 1024 * 1024
"""An image above this leaves its slot's pages to the system again; below it they are kept warm."""


@dataclass(slots=True, eq=False)
class Work:
    """An image on its way through the pool, and who waits for it."""

    encoded: EncodedImage
    pixels: asyncio.Future[Pixels]
    crashes: int = 0


class DecodeProcess:
    """One decode process: its socket, the memory shared with it alone, and what it has been given. Event loop only."""

    def __init__(self, server: ForkServer, layout: wire.Layout, born: float) -> None:
        self.born = born
        self.open_because: str | None = None
        """Once it stands, what `sandbox.confine` returned there."""
        self.overdue = False
        self.lost_at: float | None = None
        """When its socket ended. It is buried when the fork server also has said how it died."""
        self.manner: str | None = None
        """How it died."""
        self.head_since = born
        """When the oldest of its images got its turn."""
        self._mark = (born, 0.0)
        """Since when an image has its turn, and how much of a CPU the process had used when it was first looked at."""
        self.given: deque[tuple[int, Work]] = deque()
        """Slot and image, oldest first: the process takes them in this order."""
        self._layout = layout
        self._free = list(range(layout.slots))
        self._pid = 0
        self._pidfd: int | None = None
        self.connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.connection.setblocking(False)
        memory = os.memfd_create("image-worker", os.MFD_CLOEXEC)
        try:
            os.ftruncate(memory, layout.total_bytes)
            self._shared = mmap.mmap(memory, layout.total_bytes)
            with theirs:
                self.serial = server.fork(theirs, memory)
        finally:
            os.close(memory)

    @property
    def ready(self) -> bool:
        """Whether it ever stood."""
        return self.open_because is not None

    @property
    def free_slots(self) -> int:
        """Images it can be given now."""
        return len(self._free) if self.ready and not self.overdue and self.lost_at is None else 0

    def greet(self, message: bytes) -> None:
        """Take its first message: it stands. Raises OSError, ValueError or struct.error where it does not."""
        hello = wire.Hello.unpack(message)
        self._pid = hello.pid
        self._pidfd = os.pidfd_open(hello.pid)
        self.open_because = hello.open_because

    def worked_s(self) -> float:
        """Seconds of CPU that the oldest image has had, since the first time that this was asked of it."""
        used_s = _cpu_s(self._pid)
        if self._mark[0] != self.head_since:
            self._mark = self.head_since, used_s
        return used_s - self._mark[1]

    def give(self, work: Work, now: float) -> None:
        """Put an image in a free slot and say so. Raises OSError where the process is gone."""
        data = work.encoded.data
        slot = self._free.pop()
        start = self._layout.input_at(slot)
        self._shared[start : start + len(data)] = data
        if not self.given:
            self.head_since = now
        self.given.append((slot, work))
        self.connection.send(wire.Job(slot, len(data), work.encoded.expected_sha256).pack())

    def take(self, message: bytes, shape: tuple[int, int, int], now: float) -> tuple[Work, Pixels | Rejected]:
        """Read an answer: the image it is about, and its pixels or why there are none. `shape` is one frame's.

        Raises ValueError, LookupError or struct.error where the message is no answer to the oldest image.
        """
        answer = wire.unpack_answer(message)
        slot, work = self.given[0]
        if answer.slot != slot:
            raise ValueError("the answer is about another image")
        outcome = self._pixels(answer, shape) if isinstance(answer, wire.Done) else answer.rejected
        self.given.popleft()
        self.head_since = now
        self._recycle(slot, len(work.encoded.data))
        return work, outcome

    def kill(self) -> None:
        """Kill it, if it stands. Its socket says when it is gone."""
        if self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def lose(self, now: float) -> None:
        """Hear no more of it, and see to its end."""
        self.lost_at = now
        self.kill()
        self.connection.close()

    def close(self) -> None:
        """Kill it and let go of all that belongs to it."""
        self.kill()
        self.connection.close()
        self._shared.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def _pixels(self, answer: wire.Done, shape: tuple[int, int, int]) -> Pixels:
        size = len(answer.frames) * shape[0] * shape[1] * shape[2]
        if not 0 < size <= self._layout.output_bytes:
            raise ValueError("the answer has no frame, or more than fit")
        view = np.frombuffer(self._shared, np.uint8, size, self._layout.output_at(answer.slot))
        return Pixels(
            view.reshape(-1, *shape).copy(),
            answer.width,
            answer.height,
            answer.format,
            answer.sha256,
            answer.frames,
            answer.frame_count,
        )

    def _recycle(self, slot: int, used_bytes: int) -> None:
        if used_bytes > _TRIM_BYTES:
            self._shared.madvise(mmap.MADV_REMOVE, self._layout.input_at(slot), self._layout.input_bytes)
        self._free.append(slot)


def _cpu_s(pid: int) -> float:
    """Seconds of CPU of another process, by its clock (clock_getcpuclockid(3)); 0 once it is gone."""
    try:
        return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)
    except OSError:
        return 0.0
