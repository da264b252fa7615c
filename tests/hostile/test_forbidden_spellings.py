"""Loopback in many spellings, each with a listener that proves that nobody called."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from worker.errors import Reason, Rejected
from worker.images.fetch import Fetcher
from worker.images.settings import ImagesSettings
from worker.observe.metrics import Metrics
from worker.records import ImageReference

SPELLINGS_TABLE = """
127.0.0.1 127.0.0.1. 127.1 127.0.1 127.00.00.01 0177.0.0.1 0177.1 017700000001 0x7f.0.0.1 0x7f.1 0x7F000001 2130706433
0x7f.0.0.0x1 127.0.0.01 0 0.0.0.0 0x0 127.127.127.127 127.0.0.1%2e 127%2e0%2e0%2e1 %31%32%37.0.0.1
localhost LOCALHOST localhost. LocalHost. ip6-localhost
①②⑦.⓪.⓪.① １２７.０.０.１ 127。0。0。1 127．0．0．1 ｌｏｃａｌｈｏｓｔ ⓛⓞⓒⓐⓛⓗⓞⓢⓣ
[::1] [0:0:0:0:0:0:0:1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [0:0:0:0:0:ffff:127.0.0.1] [::1%25lo]
[64:ff9b::127.0.0.1] [2002:7f00:1::] [::FFFF:7F00:0001] [fe80::1%25lo] [::ffff:0:127.0.0.1]
user@127.0.0.1 user:pass@127.0.0.1 1.1.1.1@127.0.0.1 1.1.1.1&@127.0.0.1 127.0.0.1#@1.1.1.1 127.0.0.1?@1.1.1.1
"""


@dataclass
class Listener:
    """Counts those who connect to a port of loopback, over IPv4."""

    port: int = 0
    calls: list[object] = field(default_factory=list)


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    found = Listener()

    async def called(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.calls.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(called, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found


@pytest.mark.parametrize("host", SPELLINGS_TABLE.split())
async def test_no_spelling_of_loopback_is_connected_to(listener: Listener, host: str) -> None:
    fetcher = Fetcher(ImagesSettings(ports=(listener.port,), retries=0, connect_timeout_s=1), Metrics())
    await fetcher.start()
    try:
        address = f"http://{host}:{listener.port}/x"
        with pytest.raises(Rejected) as caught:
            await fetcher.fetch(ImageReference(address=address))
    finally:
        await fetcher.close()
    assert caught.value.reason in (Reason.FORBIDDEN_ADDRESS, Reason.INVALID_ADDRESS, Reason.HOST_NOT_FOUND)
    assert listener.calls == []


async def test_a_name_that_leads_to_loopback_is_refused_by_its_address(listener: Listener) -> None:
    fetcher = Fetcher(ImagesSettings(ports=(listener.port,)), Metrics())
    await fetcher.start()
    with pytest.raises(Rejected) as caught:
        await fetcher.fetch(ImageReference(address=f"http://localhost:{listener.port}/"))
    await fetcher.close()
    assert (caught.value.reason, caught.value.detail) == (Reason.FORBIDDEN_ADDRESS, "refused by rule loopback")
    assert listener.calls == []


async def test_a_name_with_several_addresses_is_refused_when_each_of_them_is(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        kind = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [
            (socket.AF_INET, *kind, ("127.0.0.1", port)),
            (socket.AF_INET6, *kind, ("::1", port, 0, 0)),
            (socket.AF_INET, *kind, ("10.0.0.1", port)),
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answer)
    fetcher = Fetcher(ImagesSettings(ports=(listener.port,)), Metrics())
    await fetcher.start()
    with pytest.raises(Rejected) as caught:
        await fetcher.fetch(ImageReference(address=f"http://images.example:{listener.port}/"))
    await fetcher.close()
    assert caught.value.reason is Reason.FORBIDDEN_ADDRESS
    assert listener.calls == []
