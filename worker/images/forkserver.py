"""What runs in the fork server and in the decode processes it forks. The parent imports it only for its text.

Not multiprocessing's: that one hands its children the parent's whole environment and imports the parent's __main__
again, with all it brings. This one starts with a bare environment and imports Pillow and little else.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from worker.errors import Rejected
from worker.images import wire
from worker.images.decode import decode, prepare, recipe_from
from worker.images.limits import DecodeLimits, limits_from
from worker.images.sandbox import confine
from worker.images.warm import warm
from worker.recipe import InputRecipe

_NICE = 10
"""Decoding yields to the model and the event loop. A model's threads wait for each other at every layer, so one of them
that is displaced holds up all: with two busy decoders on two CPUs the demo's model made 15 images/s, with nice 10 39,
as alone. Decoders get what the model leaves, a tenth at least: all of it where the model waits for images."""
BUSY = 4
"""Times the limit that an image may take by the clock, where its process did not get that much of a CPU."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What the pool tells its fork server once."""

    recipe: InputRecipe
    limits: DecodeLimits
    layout: wire.Layout
    memory_bytes: int
    time_limit_s: float

    @classmethod
    def from_json(cls, text: str) -> Orders:
        values = json.loads(text)
        values["recipe"] = recipe_from(values["recipe"])
        values["limits"] = limits_from(values["limits"])
        values["layout"] = wire.Layout(**values["layout"])
        return cls(**values)


def serve(descriptor: int, orders_json: str) -> None:
    """Fork a decode process for each order that arrives, and report its death, until the parent goes away."""
    orders = Orders.from_json(orders_json)
    prepare(orders.limits)
    warm(orders.recipe, orders.limits)
    with socket.socket(fileno=descriptor) as control, suppress(ConnectionError):  # gone, with reports left unread
        nursery = _Nursery(control, orders)
        while nursery.serve_next():
            pass


class _Nursery:
    """The children of the fork server. A pidfd becomes readable when its process dies: no signal handler, no race."""

    def __init__(self, control: socket.socket, orders: Orders) -> None:
        self._control = control
        self._orders = orders
        self._children: dict[int, tuple[int, int]] = {}
        """By pidfd: the process id, and the serial number that the pool gave it."""
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def serve_next(self) -> bool:
        """Wait for what happens next, and do what it asks for. False once the parent is gone."""
        for descriptor, _ in self._poll.poll():
            if descriptor in self._children:
                self._report(descriptor)
            elif not self._fork():
                return False
        return True

    def _fork(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, wire.MESSAGE_BYTES, 2)
        if not message:
            return False
        server = os.getpid()
        child = os.fork()
        if child == 0:
            connection, memory = descriptors
            _run(self._orders, connection, memory, server)
        for received in descriptors:
            os.close(received)
        pidfd = os.pidfd_open(child)
        self._children[pidfd] = child, wire.unpack_serial(message)
        self._poll.register(pidfd, select.POLLIN)
        return True

    def _report(self, pidfd: int) -> None:
        pid, serial = self._children.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        self._control.send(wire.Death(serial, os.waitstatus_to_exitcode(status)).pack())


def _run(orders: Orders, connection: int, memory: int, server: int) -> NoReturn:
    """The life of one decode process. Ends when the parent goes away, or with it all that went wrong."""
    status = 1
    try:
        with (
            socket.socket(fileno=connection) as parent,
            mmap.mmap(memory, orders.layout.total_bytes) as shared,
        ):
            os.nice(_NICE)
            open_because = confine(orders.memory_bytes, keep=(connection,), parent=server)
            parent.send(wire.Hello(os.getpid(), open_because).pack())
            _work(orders, parent, shared)
        status = 0
    finally:
        os._exit(status)


def _work(orders: Orders, parent: socket.socket, shared: mmap.mmap) -> None:
    while message := parent.recv(wire.MESSAGE_BYTES):
        # The pool kills at the limit. The alarm is for a pool that died: nothing else would end this process.
        signal.setitimer(signal.ITIMER_REAL, 2 * BUSY * orders.time_limit_s)
        parent.send(_answer(orders, shared, wire.Job.unpack(message)))
        signal.setitimer(signal.ITIMER_REAL, 0)


def _answer(orders: Orders, shared: mmap.mmap, job: wire.Job) -> bytes:
    start = orders.layout.input_at(job.slot)
    try:
        decoded = decode(shared[start : start + job.size], orders.recipe, orders.limits, job.expected_sha256)
    except Rejected as rejected:
        return wire.pack_refused(job.slot, rejected)
    output = orders.layout.output_at(job.slot)
    shared[output : output + len(decoded.pixels)] = decoded.pixels
    return wire.pack_done(job.slot, decoded)
