"""The pages that probes, scrapers and people ask: /metrics, /livez, /readyz, /status. On the event loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from worker.errors import Fatal
from worker.observe.metrics import Metrics
from worker.observe.settings import ObserveSettings

Trouble = Callable[[], Sequence[str]]
"""What is wrong now, a line each; nothing where all is well."""


class HealthPages:
    """Serves the pages for as long as it is started."""

    def __init__(
        self,
        settings: ObserveSettings,
        metrics: Metrics,
        *,
        alive: Trouble,
        ready: Trouble,
        status: Callable[[], dict[str, Any]],
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._alive = alive
        self._ready = ready
        self._status = status
        self._runner: web.AppRunner | None = None
        self.port = settings.port

    async def start(self) -> None:
        """Begin to serve. Fatal where the port is in use."""
        app = web.Application()
        app.router.add_get("/metrics", self._serve_metrics)
        app.router.add_get("/livez", self._serve_livez)
        app.router.add_get("/readyz", self._serve_readyz)
        app.router.add_get("/status", self._serve_status)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._settings.host, self._settings.port)
        try:
            await site.start()
        except OSError as error:
            raise Fatal(
                f"cannot serve health pages on {self._settings.host}:{self._settings.port}: {error.strerror}; "
                "set observe.port to a free port (0 takes any)"
            ) from error
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve_metrics(self, _request: web.Request) -> web.Response:
        body = generate_latest(self._metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _serve_livez(self, _request: web.Request) -> web.Response:
        return _answer(self._alive())

    async def _serve_readyz(self, _request: web.Request) -> web.Response:
        return _answer(self._ready())

    async def _serve_status(self, _request: web.Request) -> web.Response:
        return web.json_response(self._status())


def _answer(trouble: Sequence[str]) -> web.Response:
    return web.Response(status=503 if trouble else 200, text="\n".join(trouble) + "\n" if trouble else "ok\n")
