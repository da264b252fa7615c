"""Web servers that mean harm, made by hand: each ends in its reason, and the next image from the same host comes.

Limits, redirects and retries as such are tried in tests/unit/images/test_http_fetch.py; here are streams without end,
answers within answers, and bodies that are no images.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.clusters import jpeg
from tests.hostile.conftest import RECIPE
from worker.errors import Reason, Rejected
from worker.images.fetch import Fetcher
from worker.images.pool import DecodePool
from worker.images.settings import ImagesSettings
from worker.observe.metrics import Metrics
from worker.records import ImageReference, Pixels

Say = Callable[[asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"
IMAGE = jpeg(100)
GOOD = OK + b"Content-Length: %d\r\n\r\n" % len(IMAGE) + IMAGE


def says(*parts: bytes) -> Say:
    """Say this and close."""

    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(parts))

    return say


def without_end(begin: bytes, again: bytes) -> Say:
    """Say this, and the rest for as long as somebody listens."""

    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while not writer.is_closing():
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(0)

    return say


def dripping(begin: bytes, drop: bytes) -> Say:
    """Never silent for as long as a read may take, never done."""

    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while not writer.is_closing():
            writer.write(drop)
            await asyncio.sleep(0.02)

    return say


@pytest.fixture
async def host() -> AsyncIterator[Callable[[Say], Awaitable[int]]]:
    """A server that says the given thing to `/bad` and gives an image otherwise; its port."""
    async with AsyncExitStack() as closing:

        async def start(bad: Say) -> int:
            async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                try:
                    while (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1] != b"/bad":
                        writer.write(GOOD)
                    await bad(writer)
                    await writer.drain()
                except (ConnectionError, asyncio.IncompleteReadError):
                    pass
                finally:
                    writer.close()

            server = await asyncio.start_server(answer, "127.0.0.1", 0)
            closing.callback(server.close)
            return int(server.sockets[0].getsockname()[1])

        yield start


@pytest.fixture
async def look() -> AsyncIterator[Callable[..., Awaitable[Pixels]]]:
    """Fetches and decodes what a path of a port leads to, with the same fetcher and pool each time."""
    async with AsyncExitStack() as closing:
        rooms: list[tuple[Fetcher, DecodePool]] = []

        async def fetch_and_decode(port: int, path: str, **settings: Any) -> Pixels:
            if not rooms:
                usual: dict[str, Any] = {"ports": (port,), "allow_networks": ("127.0.0.0/8",), "decode_processes": 1}
                usual |= {"retries": 0, "max_bytes": 1_000_000, "total_timeout_s": 20, "read_timeout_s": 10}
                images = ImagesSettings(**usual | settings)
                rooms.append((Fetcher(images, Metrics()), DecodePool(images, RECIPE, Metrics())))
                for room in rooms[0]:
                    await room.start()
                    closing.push_async_callback(room.close)
            fetcher, pool = rooms[0]
            return await pool.decode(await fetcher.fetch(ImageReference(address=f"http://127.0.0.1:{port}{path}")))

        yield fetch_and_decode


CASES: dict[str, tuple[Say, set[Reason]]] = {
    "a body without length or end": (without_end(OK + b"\r\n", bytes(50_000)), {Reason.TOO_LARGE}),
    "chunks without end": (
        without_end(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"4000\r\n" + bytes(0x4000) + b"\r\n"),
        {Reason.TOO_LARGE},
    ),
    "an HTTP/1.0 body without end": (without_end(b"HTTP/1.0 200 OK\r\n\r\n", bytes(50_000)), {Reason.TOO_LARGE}),
    "headers without end": (without_end(OK, b"X-More: and more\r\n" * 50), {Reason.INVALID_RESPONSE}),
    "a header without end": (without_end(OK + b"X-Long: ", b"x" * 10_000), {Reason.INVALID_RESPONSE}),
    "a header's name without end": (without_end(OK, b"x" * 10_000), {Reason.INVALID_RESPONSE}),
    "a status line without end": (without_end(b"HTTP/1.1 200 ", b"x" * 10_000), {Reason.INVALID_RESPONSE}),
    "empty lines without end": (without_end(b"", b"\r\n" * 5000), {Reason.INVALID_RESPONSE, Reason.FETCH_TIMEOUT}),
    "provisional answers without end": (
        without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        {Reason.FETCH_TIMEOUT, Reason.INVALID_RESPONSE},
    ),
    "a chunk's extension without end": (
        without_end(OK + b"Transfer-Encoding: chunked\r\n\r\n5;", b"x" * 10_000),
        {Reason.INVALID_RESPONSE, Reason.TOO_LARGE, Reason.FETCH_TIMEOUT},
    ),
    "trailers without end": (
        without_end(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-More: and more\r\n" * 50),
        {Reason.INVALID_RESPONSE, Reason.FETCH_TIMEOUT},
    ),
    "a dripping status line": (dripping(b"HTTP/1.1 200 ", b"O"), {Reason.FETCH_TIMEOUT}),
    "dripping headers": (dripping(OK, b"A: b\r\n"), {Reason.FETCH_TIMEOUT, Reason.INVALID_RESPONSE}),
    "a dripping header": (dripping(OK + b"X: ", b"x"), {Reason.FETCH_TIMEOUT}),
    "a dripping body": (dripping(OK + b"Content-Length: 90000\r\n\r\n", b"x"), {Reason.FETCH_TIMEOUT}),
    "dripping chunks": (dripping(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), {Reason.FETCH_TIMEOUT}),
    "a chunk larger than can be": (
        says(OK, b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n", bytes(100)),
        {Reason.INVALID_RESPONSE, Reason.CONNECTION_FAILED, Reason.TOO_LARGE},
    ),
    "a chunk of less than nothing": (
        says(OK, b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"),
        {Reason.INVALID_RESPONSE},
    ),
    "chunks that end early": (
        says(OK, b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        {Reason.CONNECTION_FAILED, Reason.INVALID_RESPONSE},
    ),
    "a length of more than 64 bits": (
        says(OK, b"Content-Length: 99999999999999999999999\r\n\r\n"),
        {Reason.INVALID_RESPONSE},
    ),
    "two lengths": (
        says(OK, b"Content-Length: 5\r\nContent-Length: 50\r\n\r\nhello"),
        {Reason.INVALID_RESPONSE, Reason.CONNECTION_FAILED, Reason.NOT_AN_IMAGE},
    ),
    "a length in words": (says(OK, b"Content-Length: five\r\n\r\nhello"), {Reason.INVALID_RESPONSE}),
    "a length that is too small": (
        says(OK, b"Content-Length: %d\r\n\r\n" % (len(IMAGE) // 2), IMAGE),
        {Reason.INVALID_RESPONSE},
    ),
    "a length that is too large": (
        says(OK, b"Content-Length: %d\r\n\r\n" % (2 * len(IMAGE)), IMAGE),
        {Reason.CONNECTION_FAILED},
    ),
    "a null byte in a header": (says(OK, b"X: a\0b\r\nContent-Length: 0\r\n\r\n"), {Reason.INVALID_RESPONSE}),
    "a compression nobody knows": (
        says(OK, b"Content-Encoding: zstd, br, gzip\r\nContent-Length: 4\r\n\r\nbomb"),
        {Reason.INVALID_RESPONSE},
    ),
    "a switch to another protocol": (
        says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
        {Reason.INVALID_RESPONSE},
    ),
    "HTTP/2 at once": (says(b"\0\0\x12\x04\0\0\0\0\0" + bytes(18)), {Reason.INVALID_RESPONSE}),
    "a TLS alert": (says(bytes.fromhex("15030100020228")), {Reason.INVALID_RESPONSE, Reason.CONNECTION_FAILED}),
    "a redirect to itself": (says(b"HTTP/1.1 302 Found\r\nLocation: /bad\r\n\r\n"), {Reason.TOO_MANY_REDIRECTS}),
    "a redirect to nonsense": (
        says(b"HTTP/1.1 302 Found\r\nLocation: http://[::1/\xff\xfe\r\n\r\n"),
        {Reason.INVALID_ADDRESS},
    ),
    "a redirect with a body without end": (
        without_end(b"HTTP/1.1 302 Found\r\nLocation: ftp://x/\r\n\r\n", bytes(50_000)),
        {Reason.FORBIDDEN_ADDRESS},
    ),
    "an error with a body without end": (
        without_end(b"HTTP/1.1 404 Not Found\r\n\r\n", bytes(50_000)),
        {Reason.HTTP_CLIENT_ERROR},
    ),
    "an empty body": (says(OK, b"Content-Length: 0\r\n\r\n"), {Reason.NOT_AN_IMAGE}),
    "a page that says it is an image": (
        says(OK, b"Content-Type: image/jpeg\r\nContent-Length: 34\r\n\r\n<!doctype html><title>404</title>\r\n"),
        {Reason.NOT_AN_IMAGE},
    ),
    "a drawing that leads elsewhere": (
        says(OK, b"Content-Type: image/svg+xml\r\n\r\n", b'<svg><image href="http://169.254.169.254/"/></svg>'),
        {Reason.NOT_AN_IMAGE},
    ),
}
_SHORT = {"total_timeout_s": 1.0}


@pytest.mark.parametrize("name", CASES)
async def test_what_a_server_does_ends_in_its_reason_and_the_next_image_comes(
    host: Callable[[Say], Awaitable[int]], look: Callable[..., Awaitable[Pixels]], name: str
) -> None:
    bad, reasons = CASES[name]
    port = await host(bad)
    limits = _SHORT if Reason.FETCH_TIMEOUT in reasons else {}
    with pytest.raises(Rejected) as caught:
        await look(port, "/bad", **limits)
    assert caught.value.reason in reasons, caught.value
    assert (await look(port, "/good")).format == "jpeg"


@pytest.mark.parametrize("second", [GOOD, GOOD.replace(b"200 OK", b"404 No"), b"garbage", bytes(10_000)])
async def test_what_follows_an_answer_is_no_answer_to_the_next_request(
    host: Callable[[Say], Awaitable[int]], look: Callable[..., Awaitable[Pixels]], second: bytes
) -> None:
    """Response splitting: the second of two answers sent at once belongs to nobody."""
    white = jpeg(255)
    port = await host(says(OK, b"Content-Length: %d\r\n\r\n" % len(white), white, second))
    (first,) = await asyncio.gather(look(port, "/bad"), return_exceptions=True)
    if isinstance(first, Pixels):
        assert int(first.array.min()) > 250
    else:
        assert getattr(first, "reason", first) is Reason.INVALID_RESPONSE, "the two together are no HTTP"
    after = await look(port, "/good")
    assert 90 < int(after.array.mean()) < 110
