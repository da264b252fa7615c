"""A wire passes on what it is given, and breaks as it is told. The broker is one that echoes, to see what it got."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.chaos import wires as room
from tests.chaos.wires import OFFSET_COMMIT, Wires
from tests.kafka_server import Broker
from tests.unit.chaos.offset_commits import commit_request

METADATA = 3


class Echo:
    """Answers each piece with the same, and keeps all that came. Or answers it with what it is told."""

    def __init__(self) -> None:
        self.answer: bytes | None = None
        self.door = socket.create_server(("127.0.0.1", 0))
        self.got = bytearray()
        threading.Thread(target=self._let_in, daemon=True).start()

    def _let_in(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.door.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                self.got += data
                client.sendall(data if self.answer is None else self.answer)
        client.close()

    def close(self) -> None:
        with suppress(OSError):
            self.door.shutdown(socket.SHUT_RDWR)  # `accept` would go on else
        self.door.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def wires(echo: Echo) -> Iterator[Wires]:
    with Wires(1) as wires:
        wires.lead_to([Broker(1, 0, Path(), behind=echo.door.getsockname()[1])])
        yield wires


@contextmanager
def worker(wires: Wires) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", wires.ports[0]), timeout=10) as connection:
        yield connection


def request(api: int, body: bytes = b"") -> bytes:
    head = struct.pack(">hhih", api, 0, 1, len(b"me")) + b"me" + body
    return struct.pack(">i", len(head)) + head


def answer(connection: socket.socket, length: int) -> bytes:
    """As long as that; shorter where the connection broke."""
    data = b""
    with suppress(ConnectionError):
        while len(data) < length and (more := connection.recv(length - len(data))):
            data += more
    return data


def until(some: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 10
    while not some():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_what_comes_in_pieces_or_together_is_passed_on_as_it_is(wires: Wires) -> None:
    sent = request(METADATA) + request(OFFSET_COMMIT, b"x" * 100_000) + request(METADATA)
    with worker(wires) as connection:
        for at in range(0, len(sent), 30_001):
            connection.sendall(sent[at : at + 30_001])
        assert answer(connection, len(sent)) == sent
    assert (wires.broken, wires.late) == (0, [])


def test_on_an_unsteady_wire_a_request_that_writes_breaks_its_connection_and_comes_late(
    wires: Wires, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_SHARE", 1.0)
    monkeypatch.setattr(room, "_LOST", 0.0)
    wires.unsteady(0, on=True)
    read, write, behind = request(METADATA), request(OFFSET_COMMIT, b"12"), request(METADATA, b"never")
    with worker(wires) as connection:
        connection.sendall(read)
        assert answer(connection, len(read)) == read
        connection.sendall(write + behind)
        assert answer(connection, 1) == b""
    until(lambda: wires.late)
    assert bytes(echo.got) == read + write
    (late,) = wires.late
    assert (late.client, late.api, late.request) == ("me", OFFSET_COMMIT, write)
    assert wires.broken == 1
    wires.unsteady(0, on=False)
    with worker(wires) as connection:
        connection.sendall(write)
        assert answer(connection, len(write)) == write


def test_or_it_never_comes(wires: Wires, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_SHARE", 1.0)
    monkeypatch.setattr(room, "_LOST", 1.1)
    wires.unsteady(0, on=True)
    with worker(wires) as connection:
        connection.sendall(request(OFFSET_COMMIT))
        assert answer(connection, 1) == b""
    assert (wires.broken, wires.late, bytes(echo.got)) == (1, [], b"")


def test_a_wire_that_is_cut_breaks_all_connections_and_lets_none_be_made_until_it_is_whole(wires: Wires) -> None:
    sent = request(METADATA)
    with worker(wires) as before:
        before.sendall(sent)
        assert answer(before, len(sent)) == sent
        wires.cut(0, on=True)
        assert answer(before, 1) == b""
    assert wires.broken == 1
    with worker(wires) as during:
        assert answer(during, 1) == b""
    wires.cut(0, on=False)
    with worker(wires) as after:
        after.sendall(sent)
        assert answer(after, len(sent)) == sent
    assert wires.broken == 1


def test_a_commit_whose_connection_ends_before_its_answer_may_come_late(wires: Wires, echo: Echo) -> None:
    before, after = (commit_request("g", {"in": {0: n}}, correlation=n) for n in (7, 8))
    echo.answer = struct.pack(">iih", 6, 7, 0)
    sent_ms = int(time.time() * 1000)
    with worker(wires) as connection:
        connection.sendall(before)
        assert answer(connection, 10) == echo.answer
        echo.answer = b""
        connection.sendall(after + request(METADATA))
        until(lambda: len(echo.got) == len(before) + len(after) + len(request(METADATA)))
        wires.cut(0, on=True)
        assert answer(connection, 1) == b""
    until(lambda: wires.unanswered)
    (late,) = wires.unanswered
    assert (late.client, late.api, late.request) == ("me", OFFSET_COMMIT, after)
    assert sent_ms <= late.from_ms < late.to_ms
    assert wires.late == []


def test_where_no_broker_listens_a_connection_ends_at_once(wires: Wires, echo: Echo) -> None:
    echo.close()
    with worker(wires) as connection:
        assert answer(connection, 1) == b""
