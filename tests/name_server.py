"""A name server for tests: UDP on loopback, answers by script, remembers what it was asked (RFC 1035).

async with name_server() as names:
    names.say("images.example", a=["1.1.1.1"])
    names.say("rebinding.example", a=["1.1.1.1"], then_a=["127.0.0.1"])
    resolver = names.resolver()
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address

from aiohttp.resolver import AsyncResolver

A, CNAME, AAAA = 1, 5, 28
_ANSWERED, _NO_SUCH_NAME = 0x8180, 0x8183
_HEAD = struct.Struct(">HHHHHH")


@dataclass(slots=True)
class Script:
    """What is said of one name, question after question; what is said last is said again."""

    a: list[Sequence[str]]
    aaaa: list[Sequence[str]]
    cname: str | None = None


@dataclass
class NameServer(asyncio.DatagramProtocol):
    """A running server."""

    port: int = 0
    asked: list[tuple[str, int]] = field(default_factory=list)
    """Name and type of every question, in order."""
    silent: bool = False
    """Whether it answers nobody."""
    otherwise: Script | None = None
    """What is said of every name that has no script of its own; None: there is no such name."""
    _scripts: dict[str, Script] = field(default_factory=dict)
    _transport: asyncio.DatagramTransport | None = None

    def say(
        self,
        name: str,
        a: Sequence[str] = (),
        aaaa: Sequence[str] = (),
        *,
        then_a: Sequence[str] | None = None,
        cname: str | None = None,
    ) -> None:
        """Script a name: its addresses, those at the second question and from then on, or the name it is another of."""
        self._scripts[name] = Script([a] if then_a is None else [a, then_a], [aaaa], cname)

    def resolver(self) -> AsyncResolver:
        """A resolver of aiohttp's that asks this server. To be made on a running loop."""
        return AsyncResolver(nameservers=[f"127.0.0.1:{self.port}"], timeout=0.5, tries=2)

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        if self.silent:
            return
        self._transport.sendto(self._answer(data), addr)

    def _answer(self, question: bytes) -> bytes:
        name, end = _name(question, _HEAD.size)
        (kind,) = struct.unpack_from(">H", question, end)
        self.asked.append((name, kind))
        script = self._scripts.get(name, self.otherwise)
        records = [] if script is None else self._records(name, script, kind)
        (number,) = struct.unpack_from(">H", question)
        head = _HEAD.pack(number, _NO_SUCH_NAME if script is None else _ANSWERED, 1, len(records), 0, 0)
        return head + question[_HEAD.size : end + 4] + b"".join(records)

    def _records(self, name: str, script: Script, kind: int) -> list[bytes]:
        """The records of a name, after those that lead to the name it is another of."""
        if script.cname is not None:
            target = self._scripts.get(script.cname, self.otherwise)
            rest = self._records(script.cname, target, kind) if target is not None else []
            return [_record(name, CNAME, _encoded(script.cname)), *rest]
        turns = {A: script.a, AAAA: script.aaaa}.get(kind, [[]])
        addresses = turns.pop(0) if len(turns) > 1 else turns[0]
        return [_record(name, kind, ip_address(address).packed) for address in addresses]


def _name(message: bytes, at: int) -> tuple[str, int]:
    """A name in a message, in lower case, and where it ends."""
    labels = []
    while length := message[at]:
        labels.append(message[at + 1 : at + 1 + length].decode("latin-1").lower())
        at += 1 + length
    return ".".join(labels), at + 1


def _encoded(name: str) -> bytes:
    labels = [label.encode("latin-1") for label in name.split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _record(name: str, kind: int, content: bytes) -> bytes:
    """A record of class IN that may not be kept."""
    return _encoded(name) + struct.pack(">HHIH", kind, 1, 0, len(content)) + content


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    """Run one on a free port."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        NameServer, local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()
