"""The parent's side of the fork server: it starts it, gives it orders, and hears how its children died."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from worker.images import wire

if TYPE_CHECKING:
    from worker.images.forkserver import Orders

_BOOT = (
    "import sys; sys.argv[1] in sys.path or sys.path.insert(0, sys.argv[1]);"
    " from worker.images.forkserver import serve; serve(int(sys.argv[2]), sys.argv[3])"
)
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
"""All that a fork server is given: enough to find libraries, and no credential."""


class ForkServer:
    """One light process that forks decode processes on demand. A dead one is replaced at the next `fork`.

    Event loop only. `died` is called once for each process, with its number and how it died.
    """

    def __init__(self, orders: Orders, died: Callable[[int, str], None]) -> None:
        self._orders = json.dumps(asdict(orders))
        self._died = died
        self._numbers = count()
        self._living: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def fork(self, connection: socket.socket, memory: int) -> int:
        """Ask for a process that has this socket and this memory; returns its number.

        If it fails, the socket's peer sees the end of it.
        """
        serial = next(self._numbers)
        for _ in range(2):
            control = self._control or self._launch()
            self._living.add(serial)
            try:
                socket.send_fds(control, [wire.pack_serial(serial)], [connection.fileno(), memory])
            except OSError:
                self._let_go()
            else:
                break
        return serial

    async def close(self) -> None:
        """End it, and with it every process it forked."""
        self._let_go()
        if self._process is not None:
            await asyncio.to_thread(self._process.wait)

    def _launch(self) -> socket.socket:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            root = str(Path(__file__).resolve().parents[2])
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _BOOT, root, str(theirs.fileno()), self._orders],
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the worker, which drains; these end when it does
            )
        asyncio.get_running_loop().add_reader(self._control, self._hear, self._control)
        return self._control

    def _hear(self, control: socket.socket) -> None:
        try:
            # It blocks where it sends: a pool that starts may have more orders than the socket holds.
            message = control.recv(wire.MESSAGE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._let_go()
            return
        death = wire.Death.unpack(message)
        self._living.discard(death.serial)
        self._died(death.serial, _manner(death.exit_code))

    def _let_go(self) -> None:
        """It is gone, or has to go; its children end with it."""
        loop = asyncio.get_running_loop()
        if self._control is not None:
            loop.remove_reader(self._control)
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
        for serial in self._living:
            loop.call_soon(self._died, serial, "it ended with its fork server")
        self._living.clear()


def _manner(exit_code: int) -> str:
    """How a process died, for the operator."""
    if exit_code >= 0:
        return f"it exited with status {exit_code}"
    name = f"signal {-exit_code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-exit_code).name
    from_outside = " (from outside, or the kernel's memory killer)" if exit_code == -signal.SIGKILL else ""
    return f"killed by {name}{from_outside}"
