"""The stage: settings, and an embedded cluster, web server and real worker that run while it is set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from worker.app import Worker
from worker.demo.cast import Page, pages
from worker.demo.photographs import Photograph, files, photographs
from worker.demo.web import serving
from worker.kafka.embedded import EmbeddedKafka
from worker.settings import Settings

BLOCKED_TOPIC = "blocked"
THRESHOLDS = {"missile": {"block": 0.25, "review": 0.1}, "moped": {"review": 0.3}, "football helmet": {"review": 0.1}}
_LOOK_AGAIN_S = 0.05


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs."""

    settings: Settings
    worker: Worker
    running: asyncio.Task[None]
    """The worker's run; raises what the worker died of."""
    web: str
    """The web server's address."""
    photographs: list[Photograph]


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Set the stage, up to a worker that has its partitions; clear it at the end, the worker drained.

    Raises ConfigurationError where the demo's extra is not installed.
    """
    paths = files()
    content: dict[str, Page] = {}
    with EmbeddedKafka() as kafka:
        async with serving(content) as port:
            settings = demo_settings(kafka.bootstrap_servers, port)
            kafka.create(*vars(settings.kafka.topics).values(), BLOCKED_TOPIC)
            # The model loads while the photographs are encoded.
            worker = Worker(settings)
            running = asyncio.create_task(worker.run())
            try:
                found = await asyncio.to_thread(photographs, paths)
                content.update(pages(found))
                await _ready(worker, running)
                yield Stage(settings, worker, running, f"http://127.0.0.1:{port}", found)
            finally:
                worker.stop()
                await asyncio.wait([running])
            await running


def demo_settings(bootstrap_servers: str, web_port: int) -> Settings:
    """The demo's settings: defaults but for where things are, a policy to show, and little patience."""
    return Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": bootstrap_servers, "group_id": "image-worker-demo"},
            "images": {
                "ports": [80, 443, web_port],
                "allow_networks": ["127.0.0.0/8"],
                "retries": 1,
                "retry_base_s": 0.1,
                "connect_timeout_s": 3.0,
                "total_timeout_s": 10.0,
            },
            "policy": {"thresholds": THRESHOLDS, "topics": {"block": BLOCKED_TOPIC}},
            "observe": {"host": "127.0.0.1", "port": 0},
        }
    )


async def _ready(worker: Worker, running: asyncio.Task[None]) -> None:
    """Wait until the worker is ready, or raise what it died of."""
    while worker.status()["not_ready"]:
        done, _ = await asyncio.wait([running], timeout=_LOOK_AGAIN_S)
        if done:
            await running
