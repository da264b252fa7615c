"""From a reference to the bytes of an image: by scheme, with retries inside one deadline, within a budget of bytes."""

from __future__ import annotations

import asyncio
import random
from itertools import count

from yarl import URL

from worker.errors import ConfigurationError, Reason, Rejected, Transient
from worker.images.answers import MayPass
from worker.images.budget import ByteBudget
from worker.images.deadline import Deadline
from worker.images.guard import Guard
from worker.images.http import Http, parse
from worker.images.objects import read_data_uri, read_file
from worker.images.outage import Outage
from worker.images.settings import ImagesSettings
from worker.observe.metrics import Metrics
from worker.records import EncodedImage, ImageReference


class Fetcher:
    """Fetches images. Owned by the event loop."""

    def __init__(self, settings: ImagesSettings, metrics: Metrics) -> None:
        if settings.max_bytes_in_flight < settings.max_bytes:
            raise ConfigurationError("images.max_bytes_in_flight is below images.max_bytes: no image would ever fit")
        self._settings = settings
        self._metrics = metrics
        self._budget = ByteBudget(settings.max_bytes_in_flight)
        self._outage = Outage(settings.outage_hosts, settings.outage_window_s)
        self._http = Http(settings, _guard(settings), self._budget, self._outage)
        self._turn = asyncio.Semaphore(settings.max_connections)

    def memory_bytes(self) -> int:
        """What fetched images and open connections can take at most, as the settings have it.

        True as long as a fetched image is the only holder of its bytes: drop it and its share is free again.
        """
        return self._budget.total_bytes + self._http.memory_bytes()

    async def start(self) -> None:
        await self._http.start()

    async def close(self) -> None:
        await self._http.close()

    async def fetch(self, reference: ImageReference) -> EncodedImage:
        """The bytes of the image. They count against max_bytes_in_flight until the value returned is dropped.

        Raises Rejected (a reason of the fetch stage, or MISSING_ADDRESS), or Transient where the network at large is
        down: then no host is to blame.
        """
        if reference.image is not None:
            return self._inline(reference.image, reference.sha256)
        if not reference.address:
            raise Rejected(Reason.MISSING_ADDRESS, "the event names no image")
        image = await self._by_scheme(reference.address, reference.sha256)
        self._metrics.fetched_bytes.inc(len(image.data))
        return image

    def _inline(self, image: bytes, expected_sha256: str | None) -> EncodedImage:
        if len(image) > self._settings.max_bytes:
            raise Rejected(Reason.TOO_LARGE, f"the image has more than {self._settings.max_bytes} bytes")
        return EncodedImage(image, expected_sha256)

    async def _by_scheme(self, address: str, expected_sha256: str | None) -> EncodedImage:
        scheme, colon, _ = address.partition(":")
        scheme = scheme.lower()
        if not colon or not scheme.isascii() or not scheme.replace("+", "").replace("-", "").isalnum():
            raise Rejected(Reason.INVALID_ADDRESS, "the address names no scheme")
        if scheme not in self._settings.schemes:
            raise Rejected(Reason.UNSUPPORTED_SCHEME, f"{scheme[:20]} is not in images.schemes")
        if scheme == "data":
            return await self._data(address, expected_sha256)
        if scheme == "file":
            return await self._file(address, expected_sha256)
        return await self._over_http(parse(address), expected_sha256)

    async def _data(self, address: str, expected_sha256: str | None) -> EncodedImage:
        share = min(len(address), self._settings.max_bytes)
        await self._budget.take(share)
        try:
            data = read_data_uri(address, self._settings.max_bytes)
        except BaseException:
            self._budget.give_back(share)
            raise
        return self._budget.hold(data, share, expected_sha256)

    async def _file(self, address: str, expected_sha256: str | None) -> EncodedImage:
        share = self._settings.max_bytes
        await self._budget.take(share)
        try:
            data = await asyncio.to_thread(read_file, address, self._settings.file_roots, share)
        except BaseException:
            self._budget.give_back(share)
            raise
        return self._budget.hold(data, share, expected_sha256)

    async def _over_http(self, address: URL, expected_sha256: str | None) -> EncodedImage:
        """Fetch within the total deadline, which starts with this fetch's turn on the network."""
        async with self._turn:
            try:
                async with asyncio.timeout(self._settings.total_timeout_s) as timeout:
                    return await self._retry(address, Deadline(timeout), expected_sha256)
            except MayPass as last:
                failure = last
            except TimeoutError:
                detail = f"the image did not arrive within {self._settings.total_timeout_s:g} s"
                failure = MayPass(Reason.FETCH_TIMEOUT, detail)
            raise await self._verdict(failure)

    async def _retry(self, address: URL, deadline: Deadline, expected_sha256: str | None) -> EncodedImage:
        """Try until it comes, or raise the last MayPass."""
        for tried in count():
            try:
                return await self._http.get(address, deadline, expected_sha256)
            except MayPass as failure:
                if failure.unreached is not None:
                    self._outage.failed(failure.unreached, asyncio.get_running_loop().time())
                wait_s = self._wait_s(failure, tried)
                if tried >= self._settings.retries or wait_s >= deadline.left_s():
                    raise
                self._metrics.fetch_retries.labels(failure.reason).inc()
                await asyncio.sleep(wait_s)
        raise AssertionError("unreachable")

    def _wait_s(self, failure: MayPass, tried: int) -> float:
        """What the host asked for, or full jitter (https://aws.amazon.com/blogs/architecture, exponential backoff)."""
        if failure.wait_s is not None:
            return failure.wait_s
        return random.uniform(0, self._settings.retry_base_s * 2**tried)

    async def _verdict(self, failure: MayPass) -> Rejected | Transient:
        """Whom a failure that did not pass is blamed on.

        Strangers can name any number of dead hosts, so before the network is blamed a host known to be good is asked.
        A network that was never seen to work is believed to be down for a while only: a topic that begins with dead
        hosts must not stand still for good.
        """
        now = asyncio.get_running_loop().time()
        if not self._outage.at_large(now) or await self._http.still_answers():
            return Rejected(failure.reason, failure.detail)
        if not self._http.has_seen_an_answer and not self._outage.is_news(now):
            return Rejected(failure.reason, failure.detail)
        return Transient(f"the network at large is down: no host can be reached, last {failure.detail}")


def _guard(settings: ImagesSettings) -> Guard:
    return Guard(
        schemes=frozenset(settings.schemes) & {"http", "https"},
        ports=frozenset(settings.ports),
        allow_hosts=settings.allow_hosts,
        deny_hosts=settings.deny_hosts,
        allow_networks=settings.allow_networks,
        deny_networks=settings.deny_networks,
    )
