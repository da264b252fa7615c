"""Images in object stores, read from a real S3 server on loopback.

Of az:// only the way to the store is tried here; by hand it was read from Azurite 3.37, which comes with npm. gs:// is
opened and asked by the same code, and was never read: there is no server of it to be had.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from aiohttp import web

from worker.errors import ConfigurationError, Reason, Rejected, Transient
from worker.images.fetch import Fetcher
from worker.images.settings import ImagesSettings
from worker.observe.metrics import Metrics
from worker.records import ImageReference

pytest.importorskip("obstore", reason="the extra `objects` is not installed")
boto3 = pytest.importorskip("boto3", reason="boto3 puts the objects there")
moto_server = pytest.importorskip("moto.server", reason="moto is the S3 server")

NewFetcher = Callable[..., Awaitable[Fetcher]]
BODY = bytes(range(256)) * 1000


class S3:
    """A server with the buckets `photos` and `private`; it can be ended and started again."""

    def __init__(self) -> None:
        self._server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="tests",
            aws_secret_access_key="tests",
        )
        for bucket in ("photos", "private"):
            self.client.create_bucket(Bucket=bucket)

    def put(self, key: str, body: bytes = BODY, bucket: str = "photos") -> str:
        self.client.put_object(Bucket=bucket, Key=key, Body=body)
        return f"s3://{bucket}/{key}"

    def end(self) -> None:
        self._server.stop()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the store's client would ask the cloud's metadata service for some."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    running = S3()
    yield running
    running.end()


@pytest.fixture
def s3(server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    return server


async def reason_of(fetcher: Fetcher, address: str) -> Reason:
    with pytest.raises(Rejected) as caught:
        await fetcher.fetch(ImageReference(address=address))
    return caught.value.reason


@pytest.mark.parametrize("key", ["image.jpg", "a b/ü%20+&?#.jpg", "..hidden", "x" * 900])
async def test_an_object_is_read_by_its_key_as_it_stands(s3: S3, fetcher: NewFetcher, key: str) -> None:
    agent = await fetcher(buckets=("s3://photos",))
    assert (await agent.fetch(ImageReference(address=s3.put(key)))).data == BODY


async def test_only_the_buckets_that_are_named_are_read(s3: S3, fetcher: NewFetcher) -> None:
    agent = await fetcher(buckets=("s3://photos",))
    for address in (s3.put("secret", bucket="private"), "s3://photos.private/x", "gs://photos/x", "az://photos/x"):
        assert await reason_of(agent, address) is Reason.FORBIDDEN_ADDRESS
    assert await reason_of(await fetcher(), s3.put("image.jpg")) is Reason.UNSUPPORTED_SCHEME


@pytest.mark.parametrize("key", ["", "../private/secret", "a/../../private/secret", "a//b", "./a"])
async def test_no_key_leads_out_of_its_bucket(s3: S3, fetcher: NewFetcher, key: str) -> None:
    s3.put("secret", bucket="private")
    assert await reason_of(await fetcher(buckets=("s3://photos",)), f"s3://photos/{key}") is Reason.INVALID_ADDRESS


async def test_what_is_not_there_is_not_found(s3: S3, fetcher: NewFetcher) -> None:
    agent = await fetcher(buckets=("s3://photos", "s3://nobody"))
    assert await reason_of(agent, "s3://photos/nothing") is Reason.NOT_FOUND
    assert await reason_of(agent, "s3://nobody/nothing") is Reason.NOT_FOUND


async def test_a_large_object_is_refused_before_it_is_read(s3: S3, fetcher: NewFetcher) -> None:
    address = s3.put("large")
    small = await fetcher(buckets=("s3://photos",), max_bytes=len(BODY) - 1)
    assert await reason_of(small, address) is Reason.TOO_LARGE
    agent = await fetcher(buckets=("s3://photos",), max_bytes=len(BODY), max_bytes_in_flight=len(BODY))
    image = await agent.fetch(ImageReference(address=address))
    assert agent._budget._free == 0
    del image
    await asyncio.sleep(0)
    assert agent._budget._free == len(BODY)


async def test_a_redirect_never_leads_into_a_bucket(s3: S3, serve: Any, fetcher: NewFetcher) -> None:
    async def redirect(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": s3.put("image.jpg")})

    host = await serve(redirect)
    assert await reason_of(await fetcher(host, buckets=("s3://photos",)), host.url()) is Reason.FORBIDDEN_ADDRESS


async def test_while_a_bucket_of_ours_is_away_its_records_wait(
    fetcher: NewFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = S3()
    monkeypatch.setenv("AWS_ENDPOINT_URL", ending.endpoint)
    agent = await fetcher(buckets=("s3://photos",), retries=1)
    address = ending.put("image.jpg")
    ending.end()
    with pytest.raises(Transient, match="s3://photos cannot be read any more"):
        await agent.fetch(ImageReference(address=address))


async def test_credentials_that_never_were_good_are_told_from_those_that_were(
    serve: Any, fetcher: NewFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a stand-in that denies what it is told to: moto knows no policies."""
    denies: set[str] = {"/photos/secret"}

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=403) if request.path in denies else web.Response(body=BODY)

    store = await serve(answer)
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.url("").rstrip("/"))
    agent = await fetcher(buckets=("s3://photos",))
    assert await reason_of(agent, "s3://photos/secret") is Reason.ACCESS_DENIED
    await agent.fetch(ImageReference(address="s3://photos/open"))
    assert await reason_of(agent, "s3://photos/secret") is Reason.ACCESS_DENIED
    denies.add("/photos/open")
    with pytest.raises(Transient, match="refused the credentials"):
        await agent.fetch(ImageReference(address="s3://photos/secret"))


async def test_a_bucket_that_is_not_one_is_a_wrong_configuration() -> None:
    for bucket in ("photos", "http://photos", "s3://photos/prefix", "s3://", "s3://*"):
        with pytest.raises(ValueError, match="is no bucket"):
            ImagesSettings(buckets=(bucket,))


async def test_without_the_extra_the_worker_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'image-worker\[objects\]'"):
        Fetcher(ImagesSettings(buckets=("s3://photos",)), Metrics())


async def test_the_other_clouds_are_asked_too(fetcher: NewFetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:9")
    agent = await fetcher(buckets=("az://photos",), retries=0)
    with pytest.raises(Transient, match="az://photos cannot be read"):
        await agent.fetch(ImageReference(address="az://photos/image.jpg"))
