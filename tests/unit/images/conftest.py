"""Local hosts on free ports of loopback, and fetchers that may reach them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from tests.pictures import EVERYTHING, LIMITS
from worker.images.decode import prepare
from worker.images.fetch import Fetcher
from worker.images.settings import ImagesSettings
from worker.observe.metrics import Metrics

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Host:
    """A web server on loopback that remembers what it was asked."""

    port: int = 0
    requests: list[web.Request] = field(default_factory=list)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def dead_host() -> Host:
    """A port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Host(probe.getsockname()[1])


@pytest.fixture
def serve(closing: AsyncExitStack) -> Callable[[Answer], Awaitable[Host]]:
    async def start(answer: Answer) -> Host:
        host = Host()

        async def remember(request: web.Request) -> web.StreamResponse:
            host.requests.append(request)
            return await answer(request)

        runner = web.ServerRunner(web.Server(remember), shutdown_timeout=0.1)
        await runner.setup()
        closing.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host.port = runner.addresses[0][1]
        return host

    return start


@pytest.fixture
def talk(closing: AsyncExitStack) -> Callable[[Talk], Awaitable[Host]]:
    """A server that says what no web framework would."""

    async def start(conversation: Talk) -> Host:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readuntil(b"\r\n\r\n")
                await conversation(reader, writer)
                await writer.drain()
            except (ConnectionError, asyncio.IncompleteReadError):
                return
            finally:
                writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        closing.callback(server.close)
        return Host(server.sockets[0].getsockname()[1])

    return start


@pytest.fixture
def fetcher(closing: AsyncExitStack) -> Callable[..., Awaitable[Fetcher]]:
    """A fetcher that may reach the given hosts on loopback; other settings as given."""

    async def start(*hosts: Host, metrics: Metrics | None = None, **settings: Any) -> Fetcher:
        usual: dict[str, Any] = {
            "ports": tuple(host.port for host in hosts),
            "allow_networks": ("127.0.0.0/8",),
            "retry_base_s": 0.001,
        }
        made = Fetcher(ImagesSettings(**usual | settings), metrics or Metrics())
        await made.start()
        closing.push_async_callback(made.close)
        return made

    return start


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow as a decode process has it, for every format that can be allowed."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    prepare(replace(LIMITS, formats=EVERYTHING))
