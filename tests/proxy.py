"""A wire between a broker and its clients, of which one can be cut off. Like a network that fails for one of them."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from random import Random

from tests import metadata_answer
from tests.kafka_server import free_ports

_METADATA = 3
OFFSET_COMMIT, INIT_PRODUCER_ID, END_TXN, TXN_OFFSET_COMMIT = 8, 22, 26, 28
_HEARTBEAT = 68
"""ConsumerGroupHeartbeat, the API of KIP-848."""
WRITES = {0, OFFSET_COMMIT, INIT_PRODUCER_ID, 24, 25, END_TXN, TXN_OFFSET_COMMIT}
"""Produce, OffsetCommit, InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn, TxnOffsetCommit."""


class Proxy:
    """Clients are told apart by their `client.id`. A broker (`target`) advertises `port`: see `RealKafka.proxies`."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.target = 0
        """The broker's own port, `Broker.behind`."""
        self._cut_off: bytes | None = None
        self._lose_heartbeat_of: bytes | None = None
        self._lose_answer_of: bytes | None = None
        self._refuse_heartbeat_of: tuple[bytes, int] | None = None
        self._delay_next: tuple[bytes, set[int]] = (b"", set())
        self._delayed: bytes | None = None
        self._leave_out: tuple[bytes, str, int] | None = None
        self._unsteady: tuple[bytes, Random, float] | None = None
        self.broken = 0
        """How many connections broke since one was unsteady."""
        self._clients: dict[socket.socket, bytes] = {}
        self._door = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._let_in, daemon=True).start()

    def cut_off(self, client: str) -> None:
        """End this client's connections, and let it open none until `mend`."""
        self._cut_off = client.encode()
        for connection in [each for each, name in self._clients.items() if name == self._cut_off]:
            _end(connection)

    def mend(self, *, lose_heartbeat: bool) -> None:
        """Let it connect again, and lose its first heartbeat with the connection that it comes on."""
        self._lose_heartbeat_of, self._cut_off = self._cut_off if lose_heartbeat else None, None

    def lose_answer(self, client: str) -> None:
        """Let the broker have this client's next commit, and end the connection before its answer."""
        self._lose_answer_of = client.encode()

    @property
    def lost_answer(self) -> bool:
        """Whether that has come to pass."""
        return self._lose_answer_of is None

    def refuse_heartbeat(self, client: str, code: int) -> None:
        """Answer its next heartbeat in the broker's place, with this error."""
        self._refuse_heartbeat_of = (client.encode(), code)

    def leave_out(self, client: str, topic: str, partition: int) -> None:
        """Leave this partition, which is not the last, out of the next answer to this client that tells of the topic.

        That answer says, too, that the leader of the next one is newer than it will be said to be from then on.
        """
        self._leave_out = (client.encode(), topic, partition)

    @property
    def left_out(self) -> bool:
        """Whether that has come to pass."""
        return self._leave_out is None

    def delay(self, client: str, *apis: int) -> None:
        """Keep this client's next request of these kinds, and end the connection that it comes on."""
        self._delay_next = (client.encode(), set(apis))

    def deliver(self) -> None:
        """Let the broker have what was kept, and answer it."""
        assert self._delayed is not None, "nothing was kept"
        self._deliver(self._delayed)

    def _deliver(self, request: bytes) -> None:
        assert self._answer_to(request)

    def _answer_to(self, request: bytes) -> bytes:
        """By a connection of its own, with its length of four bytes."""
        with socket.create_connection(("127.0.0.1", self.target)) as broker:
            broker.sendall(request)
            return next(_messages(broker))

    def unsteady(self, client: str, seed: int, share: float) -> None:
        """Of this client's requests that write, break the connection of some, and let the broker have them late."""
        self._unsteady = (client.encode(), Random(seed), share)

    def steady(self) -> None:
        self._unsteady = None

    def close(self) -> None:
        _end(self._door)

    def _let_in(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._door.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        broker = socket.socket()
        with suppress(OSError):
            broker.connect(("127.0.0.1", self.target))
            threading.Thread(target=_answer, args=(broker, client), daemon=True).start()
            for request in _messages(client):
                (key,), (length,) = struct.unpack(">h", request[4:6]), struct.unpack(">h", request[12:14])
                self._clients[client] = name = request[14 : 14 + length]
                if name == self._cut_off or (key == _HEARTBEAT and self._loses_it(name)):
                    break
                if key == OFFSET_COMMIT and name == self._lose_answer_of:
                    self._lose_answer_of = None
                    self._deliver(request)
                    break
                if key == _HEARTBEAT and self._refuse_heartbeat_of and name == self._refuse_heartbeat_of[0]:
                    client.sendall(_refusal(request, self._refuse_heartbeat_of[1]))
                    self._refuse_heartbeat_of = None
                    continue
                if key == _METADATA and self._leave_out and name == self._leave_out[0]:
                    client.sendall(self._less(request, *self._leave_out[1:]))
                    continue
                if name == self._delay_next[0] and key in self._delay_next[1]:
                    self._delay_next, self._delayed = (b"", set()), request
                    break
                if key in WRITES and self._comes_late(name, request):
                    break
                broker.sendall(request)
        _end(client)
        _end(broker)

    def _less(self, request: bytes, topic: str, partition: int) -> bytes:
        (version,) = struct.unpack(">h", request[6:8])
        assert version in metadata_answer.VERSIONS
        answer = self._answer_to(request)
        if (less := metadata_answer.without(answer, topic, partition)) is not None:
            self._leave_out = None
        return less or answer

    def _comes_late(self, name: bytes, request: bytes) -> bool:
        if self._unsteady is None or name != self._unsteady[0]:
            return False
        _, random, share = self._unsteady
        if random.random() >= share:
            return False
        self.broken += 1
        threading.Timer(random.uniform(0.0, 0.5), self._deliver, [request]).start()
        return True

    def _loses_it(self, name: bytes) -> bool:
        loses = name == self._lose_heartbeat_of
        if loses:
            self._lose_heartbeat_of = None
        return loses


def _refusal(heartbeat: bytes, code: int) -> bytes:
    """The answer to a heartbeat (ConsumerGroupHeartbeatResponse, version 0) that a broker does not take."""
    body = heartbeat[8:12] + struct.pack(">xihxxiibx", 0, code, 0, 0, -1)
    return struct.pack(">i", len(body)) + body


def _messages(connection: socket.socket) -> Iterator[bytes]:
    """Each with its length of four bytes."""
    stream = connection.makefile("rb")
    while len(head := stream.read(4)) == 4:
        yield head + stream.read(struct.unpack(">i", head)[0])


def _answer(broker: socket.socket, client: socket.socket) -> None:
    with suppress(OSError):
        while data := broker.recv(65536):
            client.sendall(data)
    _end(client)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
