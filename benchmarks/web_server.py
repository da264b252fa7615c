"""`python -m benchmarks.web_server FOLDER`: serves files from memory; prints its port. `?wait=10` takes 10 s."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiohttp import web


async def main(folder: Path) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    async def serve(request: web.Request) -> web.Response:
        await asyncio.sleep(float(request.query.get("wait", 0)))
        return web.Response(body=files[request.match_info["name"]], content_type="image/jpeg")

    app = web.Application()
    app.router.add_get("/{name}", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main(Path(sys.argv[1])))
