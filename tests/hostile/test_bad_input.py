"""Whatever is wrong with an event or its image: one dead letter with the precise reason, and the worker goes on."""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from tests.clusters import Cluster, data_uri, header, jpeg
from tests.kafka_server import free_ports
from tests.registry import FakeRegistry, registry
from tests.workers import running
from worker.errors import Reason, Stage

LARGEST = 100_000


@dataclass(frozen=True)
class Place:
    """Where bad input points to."""

    web: int
    """Port of a web server."""
    dead: int
    """Port on which nobody listens."""

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.web}/{path}"


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    silence = asyncio.Event()

    async def hang(_request: web.Request) -> web.Response:
        await silence.wait()
        return web.Response()

    async def drip(request: web.Request) -> web.StreamResponse:
        """Never silent for long, never done."""
        answer = web.StreamResponse()
        answer.content_length = 1000
        await answer.prepare(request)
        while not silence.is_set():
            try:
                await answer.write(b"x")
            except ConnectionError:
                break
            await asyncio.sleep(0.05)
        return answer

    async def endless(request: web.Request) -> web.StreamResponse:
        """More than is allowed, of a length that nobody says."""
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(2 * LARGEST // 10_000):
            await answer.write(bytes(10_000))
        return answer

    def always(**answer: Any) -> Callable[[web.Request], Any]:
        async def handle(_request: web.Request) -> web.Response:
            return web.Response(**answer)

        return handle

    app = web.Application()
    app.router.add_get("/good.jpg", always(body=jpeg(0)))
    app.router.add_get("/gone.jpg", always(status=410))
    app.router.add_get("/ill.jpg", always(status=500))
    app.router.add_get("/large.jpg", always(body=bytes(LARGEST + 1)))
    app.router.add_get("/image.bmp", always(body=bitmap()))
    app.router.add_get("/page.html", always(text="<html>no image</html>", content_type="image/jpeg"))
    app.router.add_get("/inward.jpg", always(status=302, headers={"Location": "http://169.254.169.254/latest"}))
    app.router.add_get("/round.jpg", always(status=302, headers={"Location": "/round.jpg"}))
    app.router.add_get("/hang.jpg", hang)
    app.router.add_get("/drip.jpg", drip)
    app.router.add_get("/endless.jpg", endless)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Place(runner.addresses[0][1], free_ports(1)[0])
    finally:
        silence.set()
        await runner.cleanup()


def bitmap() -> bytes:
    stream = BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "bmp")
    return stream.getvalue()


def asks(address: Any, **more: Any) -> bytes:
    return json.dumps({"url": address, **more}).encode()


def bad_input(there: Place) -> dict[str, tuple[bytes, Reason]]:
    """Bad input by name, with the reason that it must get."""
    image = jpeg(0)
    return {
        "empty": (b"", Reason.EMPTY_VALUE),
        "text": (b"hello", Reason.UNRECOGNISED_VALUE),
        "broken JSON": (b'{"url": "http', Reason.MALFORMED_VALUE),
        "broken framing": (b"\x00\x00\x00", Reason.MALFORMED_VALUE),
        "unknown schema id": (b"\x00" + struct.pack(">I", 404) + b"abc", Reason.UNKNOWN_SCHEMA),
        "unknown fingerprint": (b"\xc3\x01" + bytes(8), Reason.UNKNOWN_SCHEMA),
        "wrong type": (asks(7), Reason.WRONG_TYPE),
        "digest that is none": (asks(data_uri(image), sha256="abc"), Reason.WRONG_TYPE),
        "no address": (b'{"id": "x"}', Reason.MISSING_ADDRESS),
        "unknown scheme": (asks("gopher://example.com/"), Reason.UNSUPPORTED_SCHEME),
        "file although not allowed": (asks("file:///etc/passwd"), Reason.UNSUPPORTED_SCHEME),
        "no scheme": (asks("example.com/a.jpg"), Reason.INVALID_ADDRESS),
        "address that is none": (asks("http://[::1"), Reason.INVALID_ADDRESS),
        "broken data": (asks("data:image/png;base64,%%%"), Reason.INVALID_ADDRESS),
        "private address": (asks(f"http://10.0.0.1:{there.web}/"), Reason.FORBIDDEN_ADDRESS),
        "redirect inward": (asks(there.url("inward.jpg")), Reason.FORBIDDEN_ADDRESS),
        "redirects without end": (asks(there.url("round.jpg")), Reason.TOO_MANY_REDIRECTS),
        "refused": (asks(f"http://127.0.0.1:{there.dead}/"), Reason.CONNECTION_FAILED),
        "no such host": (asks(f"http://nowhere.invalid:{there.web}/"), Reason.HOST_NOT_FOUND),
        "silence": (asks(there.url("hang.jpg")), Reason.FETCH_TIMEOUT),
        "dripping": (asks(there.url("drip.jpg")), Reason.FETCH_TIMEOUT),
        "404": (asks(there.url("nothing.jpg")), Reason.HTTP_CLIENT_ERROR),
        "410": (asks(there.url("gone.jpg")), Reason.HTTP_CLIENT_ERROR),
        "500": (asks(there.url("ill.jpg")), Reason.HTTP_SERVER_ERROR),
        "too large": (asks(there.url("large.jpg")), Reason.TOO_LARGE),
        "too large, undeclared": (asks(there.url("endless.jpg")), Reason.TOO_LARGE),
        "not an image": (asks(there.url("page.html")), Reason.NOT_AN_IMAGE),
        "format that is not allowed": (asks(there.url("image.bmp")), Reason.UNSUPPORTED_FORMAT),
        "truncated image": (asks(data_uri(jpeg(0, (300, 300))[:-400])), Reason.TRUNCATED),
        "truncated image as value": (image[:40], Reason.TRUNCATED),
        "too many pixels": (asks(data_uri(jpeg(0, (1100, 1000)))), Reason.TOO_MANY_PIXELS),
        "wrong digest": (asks(data_uri(image), sha256="0" * 64), Reason.DIGEST_MISMATCH),
    }


@pytest.fixture
async def there() -> AsyncIterator[Place]:
    async with place() as found:
        yield found


@pytest.fixture
async def schemas() -> AsyncIterator[FakeRegistry]:
    async with registry() as fake:
        yield fake


async def test_each_bad_input_is_one_dead_letter_with_its_reason_and_the_worker_goes_on(
    embedded: Cluster, there: Place, schemas: FakeRegistry
) -> None:
    topics = embedded.topics()
    bad = bad_input(there)
    flags = (
        "kafka.group_protocol=consumer",
        f"events.registry_url={schemas.url}",
        f"images.ports=[{there.web}, {there.dead}]",
        "images.allow_networks=['127.0.0.0/8']",
        f"images.max_bytes={LARGEST}",
        "images.max_pixels=1000000",
        "images.total_timeout_s=6",
        "images.read_timeout_s=1",
        "images.retry_base_s=0.01",
    )
    good = {"value": asks(there.url("good.jpg"), id="good", sha256=hashlib.sha256(jpeg(0)).hexdigest())}
    records: list[dict[str, Any]] = [{"key": name, "value": value, "partition": 0} for name, (value, _) in bad.items()]
    embedded.produce(topics.input, [*records, {**good, "key": "good", "partition": 0}])
    async with running(embedded.settings(topics, *flags)) as worker:
        seen = await asyncio.to_thread(embedded.read, [topics.results, topics.dead_letters], len(records) + 1)
        assert worker.status()["not_ready"] == []
        tried_again = worker.metrics.registry.get_sample_value(
            "image_worker_fetch_retries_total", {"reason": "http_server_error"}
        )
        assert tried_again == worker.settings.images.retries, "a 500 is not final at once"
    letters = [message for message in seen if message.topic() == topics.dead_letters]
    reasons = {(letter.key() or b"").decode(): header(letter, "image-worker.reason") for letter in letters}
    assert reasons == {name: str(reason) for name, (_, reason) in bad.items()}
    assert Counter(message.key() for message in seen).most_common(1)[0][1] == 1, "one outcome each"
    for letter in letters:
        value, reason = bad[(letter.key() or b"").decode()]
        assert letter.value() == value
        assert header(letter, "__connect.errors.stage") == reason.stage
        assert (header(letter, "__connect.errors.exception.message") or "").startswith(f"{reason}: ")
    (result,) = (json.loads(message.value() or b"") for message in seen if message.topic() == topics.results)
    assert result["reference"]["id"] == "good"
    assert embedded.committed(topics) == {0: len(records) + 1}


def test_the_bad_input_above_covers_every_reason_that_an_event_or_a_fetch_can_have(there: Place) -> None:
    covered = {reason for _, reason in bad_input(there).values()}
    elsewhere = {
        *(Reason.TLS_FAILED, Reason.INVALID_RESPONSE, Reason.NOT_FOUND),
        *(Reason.HOST_UNAVAILABLE, Reason.ACCESS_DENIED),  # tests/unit/images: they need hosts of their own
    }
    assert {reason for reason in Reason if reason.stage in (Stage.EVENT, Stage.FETCH)} - elsewhere <= covered
