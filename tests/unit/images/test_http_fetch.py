"""Fetching over HTTP: limits, redirects, retries and outages, against hosts on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from worker.errors import ConfigurationError, Reason, Rejected, Transient
from worker.images.fetch import Fetcher
from worker.images.settings import ImagesSettings
from worker.observe.metrics import Metrics
from worker.records import ImageReference

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[Any]]
Talking = Callable[[Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]], Awaitable[Any]]
NewFetcher = Callable[..., Awaitable[Fetcher]]
BODY = bytes(range(256)) * 100


async def image(_: web.Request) -> web.Response:
    return web.Response(body=BODY, content_type="image/jpeg")


async def refusal(fetcher: Fetcher, address: str, **more: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        await fetcher.fetch(ImageReference(address=address, **more))
    return caught.value


async def test_the_bytes_arrive_with_the_digest_the_event_states(serve: Serve, fetcher: NewFetcher) -> None:
    host = await serve(image)
    metrics = Metrics()
    found = await (await fetcher(host, metrics=metrics)).fetch(ImageReference(address=host.url(), sha256="ab" * 32))
    assert (found.data, found.expected_sha256) == (BODY, "ab" * 32)
    assert metrics.registry.get_sample_value("image_worker_fetched_bytes_total") == len(BODY)


async def test_a_host_is_asked_plainly(serve: Serve, fetcher: NewFetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    host = await serve(lambda request: _with_cookie())
    agent = await fetcher(host, user_agent="test (mail@example.com)")
    for _ in range(2):
        await agent.fetch(ImageReference(address=host.url()))
    headers = host.requests[1].headers
    assert headers["User-Agent"] == "test (mail@example.com)"
    assert headers["Accept-Encoding"] == "identity"
    assert "Cookie" not in headers
    assert "Authorization" not in headers


async def _with_cookie() -> web.Response:
    response = web.Response(body=BODY)
    response.set_cookie("session", "1")
    return response


async def test_an_inline_image_needs_no_network(fetcher: NewFetcher) -> None:
    agent = await fetcher(max_bytes=len(BODY))
    assert (await agent.fetch(ImageReference(image=BODY))).data == BODY
    with pytest.raises(Rejected) as caught:
        await agent.fetch(ImageReference(image=BODY + b"x"))
    assert caught.value.reason is Reason.TOO_LARGE


async def test_data_and_files_come_the_same_way(fetcher: NewFetcher, tmp_path: Any) -> None:
    (tmp_path / "image").write_bytes(BODY)
    agent = await fetcher(schemes=("data", "file"), file_roots=(tmp_path,))
    assert (await agent.fetch(ImageReference(address="data:;base64,AAAA"))).data == b"\0\0\0"
    assert (await agent.fetch(ImageReference(address=f"file://{tmp_path}/image"))).data == BODY
    assert (await refusal(agent, "http://127.0.0.1/")).reason is Reason.UNSUPPORTED_SCHEME


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", Reason.MISSING_ADDRESS),
        ("no address at all", Reason.INVALID_ADDRESS),
        ("//127.0.0.1/x", Reason.INVALID_ADDRESS),
        ("ftp://127.0.0.1/x", Reason.UNSUPPORTED_SCHEME),
        ("file:///etc/passwd", Reason.UNSUPPORTED_SCHEME),
        ("gopher://127.0.0.1/x", Reason.UNSUPPORTED_SCHEME),
        ("javascript:alert(1)", Reason.UNSUPPORTED_SCHEME),
        ("http:", Reason.INVALID_ADDRESS),
        ("http://", Reason.INVALID_ADDRESS),
        ("http:///path", Reason.INVALID_ADDRESS),
        ("http://[::1", Reason.INVALID_ADDRESS),
        ("http://127.0.0.1:99999/", Reason.INVALID_ADDRESS),
        ("http://127.0.0.1:x/", Reason.INVALID_ADDRESS),
        ("http://a\tb/", Reason.INVALID_ADDRESS),
        ("http://a\nb/", Reason.INVALID_ADDRESS),
        ("http://127.0.0.1\\@example.com/", Reason.INVALID_ADDRESS),
        ("http://" + "a" * 300 + "/", Reason.INVALID_ADDRESS),
        ("http://a..b/", Reason.INVALID_ADDRESS),
        ("http://user@127.0.0.1/", Reason.FORBIDDEN_ADDRESS),
        ("http://user:secret@127.0.0.1/", Reason.FORBIDDEN_ADDRESS),
        ("http://127.0.0.1:22/", Reason.FORBIDDEN_ADDRESS),
    ],
)
async def test_addresses_that_are_none(fetcher: NewFetcher, address: str, reason: Reason) -> None:
    agent = await fetcher(ports=(80,), retries=0)
    assert (await refusal(agent, address)).reason is reason


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
async def test_a_client_error_is_final(serve: Serve, fetcher: NewFetcher, status: int) -> None:
    host = await serve(lambda request: _status(status))
    rejected = await refusal(await fetcher(host), host.url())
    assert rejected.reason is Reason.HTTP_CLIENT_ERROR
    assert str(status) in rejected.detail
    assert len(host.requests) == 1


async def _status(status: int, **headers: str) -> web.Response:
    return web.Response(status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("status", "reason"),
    [(500, Reason.HTTP_SERVER_ERROR), (503, Reason.HTTP_SERVER_ERROR), (429, Reason.HTTP_CLIENT_ERROR)],
)
async def test_what_may_pass_is_tried_again_and_then_rejected(
    serve: Serve, fetcher: NewFetcher, status: int, reason: Reason
) -> None:
    host = await serve(lambda request: _status(status))
    metrics = Metrics()
    assert (await refusal(await fetcher(host, metrics=metrics, retries=2), host.url())).reason is reason
    assert len(host.requests) == 3
    assert metrics.registry.get_sample_value("image_worker_fetch_retries_total", {"reason": reason.value}) == 2


async def test_an_image_that_comes_at_the_second_try_is_taken(serve: Serve, fetcher: NewFetcher) -> None:
    statuses = [503, 200]
    host = await serve(lambda request: image(request) if statuses.pop(0) == 200 else _status(503, Retry_After="0"))
    assert (await (await fetcher(host)).fetch(ImageReference(address=host.url()))).data == BODY


@pytest.mark.parametrize("wait", ["60", "Wed, 21 Oct 2099 07:28:00 GMT"])
async def test_a_retry_after_beyond_the_deadline_is_not_waited_for(
    serve: Serve, fetcher: NewFetcher, wait: str
) -> None:
    host = await serve(lambda request: _status(503, Retry_After=wait))
    assert (await refusal(await fetcher(host, total_timeout_s=20), host.url())).reason is Reason.HTTP_SERVER_ERROR
    assert len(host.requests) == 1


@pytest.mark.parametrize("status", [204, 206, 300, 304])
async def test_other_statuses_are_no_answer(serve: Serve, fetcher: NewFetcher, status: int) -> None:
    host = await serve(lambda request: _status(status))
    assert (await refusal(await fetcher(host), host.url())).reason is Reason.INVALID_RESPONSE


async def test_compression_that_was_not_asked_for_is_refused(serve: Serve, fetcher: NewFetcher) -> None:
    async def bomb(_: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"\0" * 10_000_000), headers={"Content-Encoding": "gzip"})

    host = await serve(bomb)
    assert (await refusal(await fetcher(host), host.url())).reason is Reason.INVALID_RESPONSE


async def test_a_declared_length_above_the_limit_is_refused_unread(talk: Talking, fetcher: NewFetcher) -> None:
    async def large(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")

    host = await talk(large)
    assert (await refusal(await fetcher(host, max_bytes=999_999), host.url())).reason is Reason.TOO_LARGE


async def test_an_endless_body_ends_at_the_limit(talk: Talking, fetcher: NewFetcher) -> None:
    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()

    host = await talk(endless)
    assert (await refusal(await fetcher(host, max_bytes=1_000_000), host.url())).reason is Reason.TOO_LARGE


async def test_who_leaves_early_closes_the_connection(talk: Talking, fetcher: NewFetcher) -> None:
    gone = asyncio.Event()

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 100)
                await writer.drain()
                await asyncio.sleep(0.001)
        finally:
            gone.set()

    host = await talk(endless)
    agent = await fetcher(host, max_bytes=999)
    assert (await refusal(agent, host.url())).reason is Reason.TOO_LARGE
    await asyncio.wait_for(gone.wait(), 10)
    fetch = asyncio.create_task((await fetcher(host)).fetch(ImageReference(address=host.url())))
    await asyncio.sleep(0.05)
    gone.clear()
    fetch.cancel()
    await asyncio.wait_for(gone.wait(), 10)


async def test_a_body_longer_than_declared_never_counts_as_an_image(talk: Talking, fetcher: NewFetcher) -> None:
    async def twofold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        )

    host = await talk(twofold)
    rejected = await refusal(await fetcher(host), host.url())
    assert rejected.reason in (Reason.INVALID_RESPONSE, Reason.TOO_LARGE)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", Reason.CONNECTION_FAILED),
        (b"", Reason.CONNECTION_FAILED),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Reason.INVALID_RESPONSE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Reason.INVALID_RESPONSE),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Reason.INVALID_RESPONSE),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", Reason.INVALID_RESPONSE),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", Reason.INVALID_RESPONSE),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", Reason.INVALID_RESPONSE),
    ],
)
async def test_hosts_that_speak_no_http(talk: Talking, fetcher: NewFetcher, answer: bytes, reason: Reason) -> None:
    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    host = await talk(say)
    assert (await refusal(await fetcher(host, retries=1), host.url())).reason is reason


async def test_http_1_0_is_read_to_the_end_of_the_connection(talk: Talking, fetcher: NewFetcher) -> None:
    async def old(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + BODY)

    host = await talk(old)
    assert (await (await fetcher(host)).fetch(ImageReference(address=host.url()))).data == BODY


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"])
async def test_a_host_that_falls_silent_is_left(talk: Talking, fetcher: NewFetcher, begin: bytes) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        await reader.read()

    host = await talk(silent)
    agent = await fetcher(host, read_timeout_s=0.05, retries=1)
    assert (await refusal(agent, host.url())).reason is Reason.FETCH_TIMEOUT


async def test_a_host_that_drips_ends_at_the_total(talk: Talking, fetcher: NewFetcher) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.01)

    host = await talk(drip)
    rejected = await refusal(await fetcher(host, total_timeout_s=0.2), host.url())
    assert rejected.reason is Reason.FETCH_TIMEOUT
    assert "0.2 s" in rejected.detail


async def test_redirects_are_followed_up_to_the_limit(serve: Serve, fetcher: NewFetcher) -> None:
    async def step(request: web.Request) -> web.Response:
        left = int(request.path.strip("/"))
        return await image(request) if left == 0 else await _status(302, Location=f"/{left - 1}")

    host = await serve(step)
    agent = await fetcher(host, max_redirects=3)
    assert (await agent.fetch(ImageReference(address=host.url("/3")))).data == BODY
    assert (await refusal(agent, host.url("/4"))).reason is Reason.TOO_MANY_REDIRECTS


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "data:;base64,AAAA", "ftp://127.0.0.1/", "http://127.0.0.1:1/", "http://u:p@127.0.0.1/"],
)
async def test_a_redirect_passes_the_whole_policy_again(serve: Serve, fetcher: NewFetcher, target: str) -> None:
    host = await serve(lambda request: _status(302, Location=target))
    assert (await refusal(await fetcher(host), host.url())).reason is Reason.FORBIDDEN_ADDRESS


async def test_a_redirect_to_a_forbidden_address_makes_no_connection(serve: Serve, fetcher: NewFetcher) -> None:
    secret = await serve(image)
    host = await serve(lambda request: _status(302, Location=secret.url(host="127.0.0.2")))
    agent = await fetcher(host, secret, allow_networks=("127.0.0.1/32",))
    rejected = await refusal(agent, host.url())
    assert (rejected.reason, rejected.detail) == (Reason.FORBIDDEN_ADDRESS, "refused by rule loopback")
    assert secret.requests == []


async def test_one_host_is_connected_to_once_for_many_images(serve: Serve, fetcher: NewFetcher) -> None:
    host = await serve(image)
    agent = await fetcher(host)
    for _ in range(3):
        await agent.fetch(ImageReference(address=host.url()))
    assert len({request.transport for request in host.requests}) == 1


async def test_a_fetch_waits_for_its_share_of_memory_and_its_deadline_with_it(
    serve: Serve, fetcher: NewFetcher
) -> None:
    host = await serve(image)
    size = len(BODY)
    agent = await fetcher(host, max_bytes=size, max_bytes_in_flight=size, total_timeout_s=0.3)
    first = await agent.fetch(ImageReference(address=host.url()))
    second = asyncio.create_task(agent.fetch(ImageReference(address=host.url())))
    done, _ = await asyncio.wait({second}, timeout=0.5)
    assert not done
    del first
    assert (await second).data == BODY


async def test_a_dead_host_costs_its_own_record(dead_host: Any, fetcher: NewFetcher) -> None:
    agent = await fetcher(dead_host, retries=1)
    for _ in range(5):
        assert (await refusal(agent, dead_host.url())).reason is Reason.CONNECTION_FAILED


async def test_a_host_that_fails_for_all_is_left_alone_and_other_hosts_are_not(
    serve: Serve, fetcher: NewFetcher
) -> None:
    ill, well = await serve(lambda request: _status(500)), await serve(image)
    agent = await fetcher(ill, well, retries=0, host_wait_s=0.05)
    for _ in range(10):
        assert (await refusal(agent, ill.url())).reason is Reason.HTTP_SERVER_ERROR
    rejected = await refusal(agent, ill.url())
    assert rejected.reason is Reason.HOST_UNAVAILABLE
    assert rejected.detail == f"127.0.0.1:{ill.port} is left alone: status 500"
    assert len(ill.requests) == 10
    assert (await agent.fetch(ImageReference(address=well.url()))).data == BODY


async def test_a_host_that_is_well_again_is_asked_again(serve: Serve, fetcher: NewFetcher) -> None:
    statuses = [500] * 10
    host = await serve(lambda request: _status(statuses.pop()) if statuses else image(request))
    agent = await fetcher(host, retries=0)
    for number in range(10):
        await refusal(agent, host.url(f"/{number}"))
    found = await asyncio.gather(*(agent.fetch(ImageReference(address=host.url(f"/{n}"))) for n in range(20)))
    assert [each.data for each in found] == [BODY] * 20


async def test_a_host_that_fails_is_not_asked_four_times_for_each_image(serve: Serve, fetcher: NewFetcher) -> None:
    answers = itertools.cycle([500, 200])
    by_path: dict[str, int] = {}

    async def half(request: web.Request) -> web.Response:
        status = by_path.setdefault(request.path, next(answers))
        return await image(request) if status == 200 else await _status(status)

    host = await serve(half)
    agent = await fetcher(host, retries=3)
    for number in range(200):
        with contextlib.suppress(Rejected):
            await agent.fetch(ImageReference(address=host.url(f"/{number}")))
    assert len(host.requests) <= 200 + 10 + 200 * 0.2


async def test_when_no_host_can_be_reached_no_record_is_to_blame(
    serve: Serve, dead_host: Any, fetcher: NewFetcher
) -> None:
    alive = await serve(image)
    agent = await fetcher(dead_host, alive, retries=0, outage_hosts=3, total_timeout_s=60)
    for last in (1, 2):
        assert (await refusal(agent, dead_host.url(host=f"127.0.0.{last}"))).reason is Reason.CONNECTION_FAILED
    with pytest.raises(Transient):
        await agent.fetch(ImageReference(address=dead_host.url(host="127.0.0.3")))
    await agent.fetch(ImageReference(address=alive.url()))
    assert (await refusal(agent, dead_host.url(host="127.0.0.4"))).reason is Reason.CONNECTION_FAILED


async def test_a_topic_that_begins_with_dead_hosts_does_not_stand_still_for_good(
    dead_host: Any, fetcher: NewFetcher
) -> None:
    agent = await fetcher(dead_host, retries=0, outage_hosts=3, outage_window_s=0.5)
    addresses = itertools.cycle(dead_host.url(host=f"127.0.0.{last}") for last in range(1, 6))
    seen: list[type[Exception]] = []
    async with asyncio.timeout(30):
        while Transient not in seen or seen[-1] is not Rejected:
            with pytest.raises((Transient, Rejected)) as caught:
                await agent.fetch(ImageReference(address=next(addresses)))
            seen.append(caught.type)


async def test_strangers_cannot_make_an_outage_of_dead_hosts(serve: Serve, dead_host: Any, fetcher: NewFetcher) -> None:
    alive = await serve(image)
    agent = await fetcher(dead_host, alive, retries=0, outage_hosts=3)
    await agent.fetch(ImageReference(address=alive.url()))
    for last in range(1, 10):
        assert (await refusal(agent, dead_host.url(host=f"127.0.0.{last}"))).reason is Reason.CONNECTION_FAILED


async def test_a_host_that_speaks_no_tls_fails_the_handshake(serve: Serve, fetcher: NewFetcher) -> None:
    host = await serve(image)
    rejected = await refusal(await fetcher(host), f"https://127.0.0.1:{host.port}/")
    assert rejected.reason is Reason.TLS_FAILED


async def test_a_certificate_nobody_vouches_for_is_not_accepted(tmp_path: Path, fetcher: NewFetcher) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=self_signed(tmp_path))
    async with server:
        port = server.sockets[0].getsockname()[1]
        agent = await fetcher(ports=(port,))
        assert (await refusal(agent, f"https://127.0.0.1:{port}/")).reason is Reason.TLS_FAILED


def self_signed(folder: Path) -> ssl.SSLContext:
    """A certificate for 127.0.0.1 in its own name."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, today - timedelta(1), today + timedelta(1))
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "both.pem").write_bytes(private + made.sign(key, hashes.SHA256()).public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return context


def test_a_budget_below_one_image_is_a_wrong_configuration() -> None:
    with pytest.raises(ConfigurationError, match="max_bytes_in_flight"):
        Fetcher(ImagesSettings(max_bytes=100, max_bytes_in_flight=99), Metrics())
