"""The wires between the workers and the brokers, which break with requests on their way. Others do not go by them.

One event loop in a thread of its own. A request is passed on as it came, once it is whole: so that a connection can
break between two of them at any time.
"""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from tests.kafka_server import Broker, free_ports
from tests.proxy import WRITES

OFFSET_COMMIT = 8
_SHARE = 0.1
"""Of the requests that write, how many break their connection while a wire is unsteady."""
_LOST = 0.3
"""Of those, how many never come."""
_LATE_S = 0.5
_FROZEN_MS = 15_000
"""How late a broker may take what it has been sent, if it is frozen meanwhile (plan.py)."""


@dataclass(frozen=True, slots=True)
class Late:
    """A request that came late, or may have: whose, what it was, and between which times the broker had it."""

    request: bytes = field(repr=False)
    """With its length of four bytes."""
    client: str
    api: int
    from_ms: int
    to_ms: int


class Wire:
    """What workers reach one broker by. Lives on the loop of `Wires`."""

    def __init__(self, number: int, port: int) -> None:
        self.port = port
        self.target = 0
        """The broker's own port."""
        self.unsteady = False
        self.cut = False
        self.broken = 0
        """How many connections broke that were in use."""
        self.late: list[Late] = []
        self.unanswered: list[Late] = []
        """Commits of offsets that the broker was sent, and whose answers the end of their connection cost."""
        self.connections: set[_FromWorker] = set()
        self.under_way: set[asyncio.Task[None]] = set()
        self._random = Random(number)

    def break_all(self) -> None:
        self.broken += len(self.connections)
        for connection in self.connections:
            connection.end()

    def breaks_with(self, request: bytes) -> bool:
        """Whether the connection breaks with this request, which then comes late or never."""
        if not self.unsteady or _api(request) not in WRITES or self._random.random() >= _SHARE:
            return False
        self.broken += 1
        if self._random.random() >= _LOST:
            self.run(self._bring(request, self._random.uniform(0.0, _LATE_S)))
        return True

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)

    async def _bring(self, request: bytes, after_s: float) -> None:
        """The broker's answer goes nowhere. Where the broker dies meanwhile, so does the request."""
        await asyncio.sleep(after_s)
        from_ms = _now_ms()
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
            writer.write(request)
            await reader.read(1)
            writer.close()
        self.late.append(_late(request, from_ms, _now_ms()))


class _FromWorker(asyncio.Protocol):
    """A worker's connection, and the one to the broker that belongs to it. When one ends, so does the other."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._read = bytearray()
        self._to_broker: asyncio.WriteTransport | None = None
        self._commits: dict[bytes, tuple[bytes, int]] = {}
        """Those under way by their correlation ids, and when they were passed on, in ms."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._wire.cut:
            transport.abort()
            return
        transport.pause_reading()
        self._wire.connections.add(self)
        self._wire.run(self._reach())

    async def _reach(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            to_broker, _ = await loop.create_connection(lambda: _FromBroker(self), "127.0.0.1", self._wire.target)
        except OSError:
            self.end()
            return
        self._to_broker = to_broker
        if self.transport.is_closing():
            to_broker.abort()
            return
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        assert self._to_broker is not None
        self._read += data
        for request in _whole(self._read):
            if self._wire.breaks_with(request):
                self.end()
                return
            if _api(request) == OFFSET_COMMIT:
                self._commits[request[8:12]] = request, _now_ms()
            self._to_broker.write(request)

    def answered(self, answer: bytes) -> None:
        self._commits.pop(answer[4:8], None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire.connections.discard(self)
        late = (_late(request, sent_ms, _now_ms() + _FROZEN_MS) for request, sent_ms in self._commits.values())
        self._wire.unanswered.extend(late)
        if self._to_broker is not None:
            self._to_broker.close()

    def end(self) -> None:
        self.transport.abort()


class _FromBroker(asyncio.Protocol):
    def __init__(self, other: _FromWorker) -> None:
        self._other = other
        self._read = bytearray()

    def data_received(self, data: bytes) -> None:
        self._other.transport.write(data)
        self._read += data
        for answer in _whole(self._read):
            self._other.answered(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._other.transport.close()


def _whole(read: bytearray) -> Iterator[bytes]:
    """Take the messages that are whole off what was read. Each begins with its length of four bytes."""
    while len(read) >= 4 and len(read) >= (end := 4 + struct.unpack_from(">i", read)[0]):
        message = bytes(read[:end])
        del read[:end]
        yield message


def _api(request: bytes) -> int:
    return int.from_bytes(request[4:6])


def _late(request: bytes, from_ms: int, to_ms: int) -> Late:
    (length,) = struct.unpack_from(">h", request, 12)
    return Late(request, request[14 : 14 + length].decode(), _api(request), from_ms, to_ms)


def _now_ms() -> int:
    return int(time.time() * 1000)


class Wires:
    """A wire for each broker, on an event loop in a thread of its own. As a context."""

    def __init__(self, count: int) -> None:
        self._wires = [Wire(number, port) for number, port in enumerate(free_ports(count))]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wires")

    def __enter__(self) -> Wires:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def ports(self) -> list[int]:
        return [wire.port for wire in self._wires]

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    @property
    def broken(self) -> int:
        """How many connections in use were broken."""
        return sum(wire.broken for wire in self._wires)

    @property
    def late(self) -> list[Late]:
        return [late for wire in self._wires for late in wire.late]

    @property
    def unanswered(self) -> list[Late]:
        """Commits that may have come late: the broker was sent them, and their connections ended before its answers."""
        return [late for wire in self._wires for late in wire.unanswered]

    @property
    def quiet(self) -> bool:
        """Whether nothing is on its way late."""
        return not any(wire.under_way for wire in self._wires)

    def lead_to(self, brokers: Iterable[Broker]) -> None:
        """Until this, who comes is sent away."""
        for wire, broker in zip(self._wires, brokers, strict=True):
            wire.target = broker.behind

    def unsteady(self, number: int, *, on: bool) -> None:
        self._wires[number].unsteady = on

    def cut(self, number: int, *, on: bool) -> None:
        """End all connections, and let none be made."""
        self._wires[number].cut = on
        if on:
            self._loop.call_soon_threadsafe(self._wires[number].break_all)

    async def _open(self) -> None:
        self._doors = [
            await self._loop.create_server(partial(_FromWorker, wire), "127.0.0.1", wire.port, backlog=1024)
            for wire in self._wires
        ]

    async def _close(self) -> None:
        for door, wire in zip(self._doors, self._wires, strict=True):
            door.close()
            for connection in wire.connections:
                connection.end()
            for task in wire.under_way:
                task.cancel()
