"""`python -m benchmarks.five_hosts FOLDER`: a web server on 127.0.0.1 to 127.0.0.5, one port; prints the port.

`/NAME` is a file of the folder. `/fail/KIND/...` fails, in a way of its own for each kind of `FAILURES`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from worker.errors import Reason

HOSTS = tuple(f"127.0.0.{last}" for last in range(1, 6))
REFUSED = "refused"
"""The kind that needs no server: nobody listens on the port."""

Writer = asyncio.StreamWriter


async def _reset_in_head(writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    _reset(writer)


async def _reset_in_body(writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(50_000))
    await writer.drain()
    _reset(writer)


def _reset(writer: Writer) -> None:
    """Close with RST instead of FIN."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def _hang(_: Writer) -> None:
    await asyncio.sleep(3600)


async def _drip(writer: Writer, begin: bytes, drop: bytes) -> None:
    writer.write(begin)
    while not writer.is_closing():
        writer.write(drop)
        await asyncio.sleep(1)


async def _endless(writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    while not writer.is_closing():
        writer.write(chunk)
        await writer.drain()


def _says(status: str, body: bytes = b"", **headers: str) -> Callable[[Writer], Awaitable[None]]:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    lines += [] if "Content_Length" in headers else [f"Content-Length: {len(body)}"]
    return _writes("\r\n".join([*lines, "", ""]).encode() + body)


def _writes(data: bytes) -> Callable[[Writer], Awaitable[None]]:
    async def write(writer: Writer) -> None:
        writer.write(data)

    return write


_PAGE = b"<!doctype html><title>nothing here</title>"
_ALERT = bytes.fromhex("15030100020228")
"""TLS: fatal, handshake_failure."""

FAILURES: Mapping[str, tuple[Callable[[Writer], Awaitable[None]], frozenset[Reason]]] = {
    REFUSED: (_writes(b""), frozenset({Reason.CONNECTION_FAILED})),
    "reset-in-head": (_reset_in_head, frozenset({Reason.CONNECTION_FAILED})),
    "reset-in-body": (_reset_in_body, frozenset({Reason.CONNECTION_FAILED})),
    "hang": (_hang, frozenset({Reason.FETCH_TIMEOUT})),
    "drip-head": (lambda writer: _drip(writer, b"HTTP/1.1 200 OK\r\nX: ", b"x"), frozenset({Reason.FETCH_TIMEOUT})),
    "drip-body": (
        lambda writer: _drip(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
        frozenset({Reason.FETCH_TIMEOUT}),
    ),
    "500": (_says("500 Internal Server Error"), frozenset({Reason.HTTP_SERVER_ERROR})),
    "503": (_says("503 Service Unavailable", Retry_After="1"), frozenset({Reason.HTTP_SERVER_ERROR})),
    "429": (_says("429 Too Many Requests", Retry_After="1"), frozenset({Reason.HTTP_CLIENT_ERROR})),
    "endless": (_endless, frozenset({Reason.TOO_LARGE})),
    "shorter-than-said": (_says("200 OK", b"x", Content_Length="5000"), frozenset({Reason.CONNECTION_FAILED})),
    "garbage": (_writes(b"\0\xff" * 500 + b"\r\n\r\n"), frozenset({Reason.INVALID_RESPONSE})),
    "round": (_says("302 Found", Location="/fail/round/again"), frozenset({Reason.TOO_MANY_REDIRECTS})),
    "empty": (_says("200 OK"), frozenset({Reason.NOT_AN_IMAGE})),
    "page": (_says("200 OK", _PAGE, Content_Type="image/jpeg"), frozenset({Reason.NOT_AN_IMAGE})),
    "tls-alert": (_writes(_ALERT), frozenset({Reason.INVALID_RESPONSE})),
}
"""The ways in which a host can fail: what it does, and the reasons that the record may get for it."""


async def main(folder: Path) -> None:
    files = {path.name: _answer(path.read_bytes()) for path in folder.iterdir() if path.is_file()}

    async def serve(reader: asyncio.StreamReader, writer: Writer) -> None:
        try:
            while (request := await reader.readuntil(b"\r\n\r\n")) and not writer.is_closing():
                path = request.split(b" ", 2)[1].decode()
                if path.startswith("/fail/"):
                    await FAILURES[path.split("/")[2]][0](writer)
                    break
                writer.write(files[path.strip("/")])
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    first = await asyncio.start_server(serve, HOSTS[0], 0, backlog=1024)
    port = first.sockets[0].getsockname()[1]
    for host in HOSTS[1:]:
        await asyncio.start_server(serve, host, port, backlog=1024)
    print(port, flush=True)
    await asyncio.Event().wait()


def _answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body) + body


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
