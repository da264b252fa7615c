"""The parent's side of the decode processes: the fork server, and one handle for each process."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from worker.images import wire
from worker.records import EncodedImage, Pixels

if TYPE_CHECKING:
    import asyncio

    from worker.images.forkserver import Orders

_BOOT = (
    "import sys; sys.argv[1] in sys.path or sys.path.insert(0, sys.argv[1]);"
    " from worker.images.forkserver import serve; serve(int(sys.argv[2]), sys.argv[3])"
)
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
"""All that a fork server is given: enough to find libraries, and no credential."""
_TRIM_BYTES = 1024 * 1024
"""An image above this leaves its slot's pages to the system again; below it they are kept warm."""


class ForkServer:
    """One light process that forks decode processes on demand. A dead one is replaced at the next `fork`."""

    def __init__(self, orders: Orders) -> None:
        self._orders = json.dumps(asdict(orders))
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def fork(self, connection: socket.socket, memory: int) -> None:
        """Ask for a process that has this socket and this memory. If it fails, the socket's peer sees the end of it."""
        for _ in range(2):
            if self._control is None:
                self._control = self._launch()
            try:
                socket.send_fds(self._control, [b"fork"], [connection.fileno(), memory])
            except OSError:
                self.close()
            else:
                return

    def close(self) -> None:
        """End it, and with it every process it forked that still waits for work. Blocks for a moment."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _launch(self) -> socket.socket:
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            root = str(Path(__file__).resolve().parents[2])
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _BOOT, root, str(theirs.fileno()), self._orders],
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the worker, which drains; these end when it does
            )
        return control


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
        self.ready = False
        self.overdue = False
        self.head_since = born
        """When the oldest of its images got its turn."""
        self.given: deque[tuple[int, Work]] = deque()
        """Slot and image, oldest first: the process takes them in this order."""
        self._layout = layout
        self._free = list(range(layout.slots))
        self._pidfd: int | None = None
        self.connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.connection.setblocking(False)
        memory = os.memfd_create("image-worker", os.MFD_CLOEXEC)
        try:
            os.ftruncate(memory, layout.total_bytes)
            self._shared = mmap.mmap(memory, layout.total_bytes)
            with theirs:
                server.fork(theirs, memory)
        finally:
            os.close(memory)

    @property
    def free_slots(self) -> int:
        """Images it can be given now."""
        return len(self._free) if self.ready and not self.overdue else 0

    def greet(self, message: bytes) -> None:
        """Take its first message: it stands, and this is its process id."""
        self._pidfd = os.pidfd_open(int(message))
        self.ready = True

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

    def take(self, message: bytes, shape: tuple[int, int, int], now: float) -> tuple[Work, Pixels | Exception]:
        """Read an answer: the image it is about, and its pixels or why there are none.

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

    def close(self) -> None:
        """Kill it and let go of all that belongs to it."""
        self.kill()
        self.connection.close()
        self._shared.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def _pixels(self, answer: wire.Done, shape: tuple[int, int, int]) -> Pixels:
        count = shape[0] * shape[1] * shape[2]
        view = np.frombuffer(self._shared, np.uint8, count, self._layout.output_at(answer.slot))
        return Pixels(view.reshape(shape).copy(), answer.width, answer.height, answer.format, answer.sha256)

    def _recycle(self, slot: int, used_bytes: int) -> None:
        if used_bytes > _TRIM_BYTES:
            self._shared.madvise(mmap.MADV_REMOVE, self._layout.input_at(slot), self._layout.input_bytes)
        self._free.append(slot)
