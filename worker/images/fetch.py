"""From a reference to the bytes of an image: by scheme, with retries inside one deadline, within a budget of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp.abc import AbstractResolver

from worker.errors import ConfigurationError, Reason, Rejected, Transient
from worker.images.answers import MayPass
from worker.images.budget import ByteBudget
from worker.images.deadline import Deadline
from worker.images.guard import Guard
from worker.images.http import Http, origin, parse, system_resolver
from worker.images.network import Network
from worker.images.objects import read_data_uri, read_file
from worker.images.retries import Retries
from worker.images.settings import ImagesSettings
from worker.images.sharing import Shared
from worker.images.stores import SCHEMES, Stores, bucket_of
from worker.images.traffic import Traffic
from worker.observe.metrics import Metrics
from worker.records import EncodedImage, ImageReference


class Fetcher:
    """Fetches images. Owned by the event loop."""

    def __init__(
        self,
        settings: ImagesSettings,
        metrics: Metrics,
        resolver: Callable[[], AbstractResolver] = system_resolver,
    ) -> None:
        if settings.max_bytes_in_flight < settings.max_bytes:
            raise ConfigurationError("images.max_bytes_in_flight is below images.max_bytes: no image would ever fit")
        self._settings = settings
        self._metrics = metrics
        self._budget = ByteBudget(settings.max_bytes_in_flight)
        self._traffic = Traffic(settings, metrics)
        self._shared: Shared[EncodedImage] = Shared(metrics)
        guard = _guard(settings)
        self._network = Network(settings, guard, resolver, metrics, returned=self._traffic.forgive)
        answered = self._network.answered
        self._http = Http(settings, guard, self._budget, self._traffic, resolver, answered=answered)
        self._stores = Stores(settings, self._budget, self._traffic)
        self._retries = Retries(settings, self._traffic, metrics)

    @property
    def held_up(self) -> int:
        """Fetches that wait for hosts in trouble. May be read from any thread."""
        return self._traffic.held_up

    def memory_bytes(self) -> int:
        """What fetched images and open connections can take at most, as the settings have it.

        True as long as a fetched image is the only holder of its bytes: drop it and its share is free again.
        """
        return self._budget.total_bytes + self._http.memory_bytes()

    async def start(self) -> None:
        await self._http.start()

    async def close(self) -> None:
        await self._http.close()
        await self._network.close()

    async def fetch(self, reference: ImageReference) -> EncodedImage:
        """The bytes of the image. They count against max_bytes_in_flight until the value returned is dropped.

        Raises Rejected (a reason of the fetch stage, or MISSING_ADDRESS), or Transient where the network at large is
        down: then no host is to blame.
        """
        if reference.image is not None:
            return EncodedImage(self._inline(reference.image), reference.sha256)
        if not reference.address:
            raise Rejected(Reason.MISSING_ADDRESS, "the event names no image")
        image = await self._by_scheme(reference.address)
        return EncodedImage(image.data, reference.sha256, image.share)

    def _inline(self, image: bytes) -> bytes:
        if len(image) > self._settings.max_bytes:
            raise Rejected(Reason.TOO_LARGE, f"the image has more than {self._settings.max_bytes} bytes")
        return image

    async def _by_scheme(self, address: str) -> EncodedImage:
        scheme, colon, _ = address.partition(":")
        scheme = scheme.lower()
        if not colon or not scheme.isascii() or not scheme.replace("+", "").replace("-", "").isalnum():
            raise Rejected(Reason.INVALID_ADDRESS, "the address names no scheme")
        if scheme in SCHEMES and self._settings.buckets:
            return await self._shared.get(address, lambda: self._object(address))
        if scheme not in self._settings.schemes:
            raise Rejected(Reason.UNSUPPORTED_SCHEME, f"{scheme[:20]} is not in images.schemes")
        if scheme == "data":
            return await self._data(address)
        if scheme == "file":
            return await self._file(address)
        return await self._shared.get(address, lambda: self._page(address))

    async def _data(self, address: str) -> EncodedImage:
        share = min(len(address), self._settings.max_bytes)
        await self._budget.take(share)
        try:
            data = read_data_uri(address, self._settings.max_bytes)
        except BaseException:
            self._budget.give_back(share)
            raise
        return self._counted(self._budget.hold(data, share))

    async def _file(self, address: str) -> EncodedImage:
        share = self._settings.max_bytes
        await self._budget.take(share)
        try:
            data = await asyncio.to_thread(read_file, address, self._settings.file_roots, share)
        except BaseException:
            self._budget.give_back(share)
            raise
        return self._counted(self._budget.hold(data, share))

    async def _page(self, address: str) -> EncodedImage:
        url = parse(address)
        host = origin(url)

        async def once(deadline: Deadline) -> EncodedImage:
            try:
                return await self._http.get(url, deadline)
            except MayPass as failure:
                # Before any retry: an outage of our own is to be known at its first sign.
                raise await self._network.judge(failure, host) from None

        try:
            return self._counted(await self._retries.run(str(host), once))
        except MayPass as failure:
            judged = await self._network.judge(failure, host)
            raise judged if isinstance(judged, Transient) else Rejected(failure.reason, failure.detail) from None

    async def _object(self, address: str) -> EncodedImage:
        bucket = bucket_of(address)
        try:
            return self._counted(await self._retries.run(bucket, lambda deadline: self._stores.get(address, deadline)))
        except (MayPass, Rejected) as failure:
            raise await self._stores.verdict(failure, bucket) from None

    def _counted(self, image: EncodedImage) -> EncodedImage:
        self._metrics.fetched_bytes.inc(len(image.data))
        return image


def _guard(settings: ImagesSettings) -> Guard:
    return Guard(
        schemes=frozenset(settings.schemes) & {"http", "https"},
        ports=frozenset(settings.ports),
        allow_hosts=settings.allow_hosts,
        deny_hosts=settings.deny_hosts,
        allow_networks=settings.allow_networks,
        deny_networks=settings.deny_networks,
    )
