"""A schema registry over real HTTP, since no real one is to be had from the package registries of a test machine.

It speaks what the worker uses of the documented API (docs.confluent.io, "Schema Registry API Reference"): schemas by
id, look-up and registration under a subject, and the compatibility resource, with the documented error codes. Left out:
versions, deletion, references, contexts, modes, other formats than Avro, authentication, and any judgement of
compatibility: `compatible` says what it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.kafka_server import free_ports


class FakeRegistry:
    """Remembers schemas by subject; every schema is compatible unless `compatible` says otherwise."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.compatible = True
        self.failure: web.Response | None = None
        """The answer to everything, in the place of the right one."""
        self.asked: Counter[str] = Counter()
        """Requests by path."""
        self._schemas: list[str] = []
        self._subjects: dict[str, set[int]] = {}
        self._runner: web.AppRunner | None = None

    def add(self, schema: str, subject: str = "some-value") -> int:
        """The id of a schema, which is known from now on."""
        if schema not in self._schemas:
            self._schemas.append(schema)
        number = self._schemas.index(schema) + 1
        self._subjects.setdefault(subject, set()).add(number)
        return number

    async def register(self, request: web.Request) -> web.Response:
        if not self.compatible:
            return _json({"error_code": 409, "message": "Schema being registered is incompatible"}, 409)
        return _json({"id": self.add((await request.json())["schema"], request.match_info["subject"])})

    async def look_up(self, request: web.Request) -> web.Response:
        subject, schema = request.match_info["subject"], (await request.json())["schema"]
        if subject not in self._subjects:
            return _json({"error_code": 40401, "message": f"Subject '{subject}' not found."}, 404)
        number = self._schemas.index(schema) + 1 if schema in self._schemas else 0
        if number not in self._subjects[subject]:
            return _json({"error_code": 40403, "message": "Schema not found"}, 404)
        return _json({"subject": subject, "id": number, "version": 1, "schema": schema})

    async def by_id(self, request: web.Request) -> web.Response:
        number = int(request.match_info["id"])
        if not 0 < number <= len(self._schemas):
            return _json({"error_code": 40403, "message": f"Schema {number} not found"}, 404)
        return _json({"schema": self._schemas[number - 1]})

    async def compare(self, _request: web.Request) -> web.Response:
        return _json({"is_compatible": self.compatible})

    async def come(self) -> None:
        """Answer, on the same port as before."""
        app = web.Application(middlewares=[self._count])
        app.router.add_post("/subjects/{subject}/versions", self.register)
        app.router.add_post("/subjects/{subject}", self.look_up)
        app.router.add_get("/schemas/ids/{id}", self.by_id)
        app.router.add_post("/compatibility/subjects/{subject}/versions/{version}", self.compare)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def go(self) -> None:
        """Refuse every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _count(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked[request.path] += 1
        if self.failure is not None:
            return web.Response(
                status=self.failure.status, body=self.failure.body, content_type=self.failure.content_type
            )
        answer: web.StreamResponse = await handler(request)
        return answer


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.json_response(body, status=status, content_type="application/vnd.schemaregistry.v1+json")


@asynccontextmanager
async def registry(*, away: bool = False) -> AsyncIterator[FakeRegistry]:
    """A registry on a free port of the loopback interface; `away`, and it refuses connections until it comes."""
    fake = FakeRegistry()
    if not away:
        await fake.come()
    try:
        yield fake
    finally:
        await fake.go()
