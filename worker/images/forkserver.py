"""What runs in the fork server and in the decode processes it forks. The parent imports it only for its text.

Not multiprocessing's: that one hands its children the parent's whole environment and imports the parent's __main__
again, with all it brings. This one starts with a bare environment and imports Pillow and little else.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import socket
from dataclasses import dataclass
from typing import NoReturn

from worker.errors import Rejected
from worker.images import wire
from worker.images.decode import decode, prepare, recipe_from
from worker.images.limits import DecodeLimits, limits_from
from worker.recipe import InputRecipe

_OPEN_FILES = 64


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
    """Fork a decode process for each pair of socket and memory that arrives, until the parent goes away."""
    orders = Orders.from_json(orders_json)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps: the parent learns of a death from its socket
    prepare(orders.limits)
    with socket.socket(fileno=descriptor) as control:
        while True:
            message, descriptors, _, _ = socket.recv_fds(control, 16, 2)
            if not message:
                return
            if os.fork() == 0:
                control.close()
                _run(orders, *descriptors)
            for received in descriptors:
                os.close(received)


def _run(orders: Orders, connection: int, memory: int) -> NoReturn:
    """The life of one decode process. Ends when the parent goes away, or with it all that went wrong."""
    status = 1
    try:
        _confine(orders)
        with (
            socket.socket(fileno=connection) as parent,
            mmap.mmap(memory, orders.layout.total_bytes) as shared,
        ):
            os.close(memory)
            parent.send(str(os.getpid()).encode())
            _work(orders, parent, shared)
        status = 0
    finally:
        os._exit(status)


def _confine(orders: Orders) -> None:
    """Limits that hold for whatever a hostile image makes of this process; its output goes nowhere."""
    resource.setrlimit(resource.RLIMIT_AS, (orders.memory_bytes, orders.memory_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.close(nowhere)


def _work(orders: Orders, parent: socket.socket, shared: mmap.mmap) -> None:
    while message := parent.recv(wire.MESSAGE_BYTES):
        # The pool kills at the limit. The alarm is for a pool that died: nothing else would end this process.
        signal.setitimer(signal.ITIMER_REAL, 2 * orders.time_limit_s)
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
