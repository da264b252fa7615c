"""A schema registry of a few lines, over real HTTP: it answers what the worker asks, as Confluent's does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class FakeRegistry:
    """Remembers schemas by subject; every schema is compatible unless `compatible` says otherwise."""

    def __init__(self) -> None:
        self.url = ""
        self.compatible = True
        self._schemas: list[str] = []
        self._subjects: dict[str, set[int]] = {}

    async def register(self, request: web.Request) -> web.Response:
        schema = (await request.json())["schema"]
        if schema not in self._schemas:
            self._schemas.append(schema)
        number = self._schemas.index(schema) + 1
        self._subjects.setdefault(request.match_info["subject"], set()).add(number)
        return _json({"id": number})

    async def look_up(self, request: web.Request) -> web.Response:
        subject, schema = request.match_info["subject"], (await request.json())["schema"]
        number = self._schemas.index(schema) + 1 if schema in self._schemas else 0
        if number not in self._subjects.get(subject, set()):
            return _json({"error_code": 40403, "message": "Schema not found"}, 404)
        return _json({"subject": subject, "id": number, "version": 1, "schema": schema})

    async def by_id(self, request: web.Request) -> web.Response:
        number = int(request.match_info["id"])
        if not 0 < number <= len(self._schemas):
            return _json({"error_code": 40403, "message": "Schema not found"}, 404)
        return _json({"schema": self._schemas[number - 1]})

    async def compare(self, _request: web.Request) -> web.Response:
        return _json({"is_compatible": self.compatible})


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.json_response(body, status=status)


@asynccontextmanager
async def registry() -> AsyncIterator[FakeRegistry]:
    """A registry on a free port of the loopback interface."""
    fake, app = FakeRegistry(), web.Application()
    app.router.add_post("/subjects/{subject}/versions", fake.register)
    app.router.add_post("/subjects/{subject}", fake.look_up)
    app.router.add_get("/schemas/ids/{id}", fake.by_id)
    app.router.add_post("/compatibility/subjects/{subject}/versions/{version}", fake.compare)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield fake
    finally:
        await runner.cleanup()
