"""Image hosts that are sometimes slow and sometimes fail: one real web server on several loopback addresses."""

from __future__ import annotations

import asyncio
import threading

from aiohttp import web

from tests.chaos.plan import HOSTS
from tests.clusters import jpeg
from tests.kafka_server import free_ports

_SLOW_S = 2.0
_IMAGES = 16
FICKLE = "127.0.1."


class Hosts:
    """The hosts, on an event loop in a thread of their own. As a context."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.slow: set[int] = set()
        self.failing: set[int] = set()
        self._images = [jpeg(number * 256 // _IMAGES) for number in range(_IMAGES)]
        self._names = {f"127.0.{fickle}.{number + 1}": number for number in range(HOSTS) for fickle in (0, 1)}
        self._served = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hosts")

    def __enter__(self) -> Hosts:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def address(self, number: int) -> str:
        """Of an image, on one host after the other; one in ten is on a host that fails at times.

        The outcome of such an image may be a dead letter once and a classification when it is done again. Those hosts
        are 127.0.1.0/24, by which the verifier knows them.
        """
        return f"http://127.0.{int(number % 10 == 0)}.{number % HOSTS + 1}:{self.port}/{number % _IMAGES}.jpg"

    def missing(self, number: int) -> str:
        """Of an image that is not there."""
        return f"http://127.0.0.{number % HOSTS + 1}:{self.port}/missing"

    async def _open(self) -> None:
        self._runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=0.1)
        await self._runner.setup()
        for name in self._names:
            # All workers come at once after an outage. What does not fit in the queue of the kernel would stall.
            await web.TCPSite(self._runner, name, self.port, backlog=4096, reuse_address=True).start()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        name = request.host.partition(":")[0]
        host = self._names[name]
        self._served += 1
        if host in self.slow:
            await asyncio.sleep(_SLOW_S)
        if host in self.failing and name.startswith(FICKLE):
            if self._served % 2 and request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)
        image = request.path.strip("/").removesuffix(".jpg")
        if not image.isdecimal():
            return web.Response(status=404)
        return web.Response(body=self._images[int(image)], content_type="image/jpeg")
