"""The demo's web server, on the loopback interface. On the event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from worker.demo.cast import Page


@asynccontextmanager
async def serving(pages: Mapping[str, Page]) -> AsyncIterator[int]:
    """Serve the pages, as they are at each request, on a free port; gives the port."""

    async def answer(request: web.Request) -> web.Response:
        page = pages.get(request.path)
        if page is None:
            raise web.HTTPNotFound
        if page.location is not None:
            raise web.HTTPFound(page.location)
        return web.Response(body=page.body, content_type=page.content_type)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
