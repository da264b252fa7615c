"""Fetches of one address at the same time are one fetch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from worker.errors import Reason, Rejected
from worker.images.sharing import Shared
from worker.observe.metrics import Metrics
from worker.records import ImageReference


class Work:
    """Something slow that counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.outcomes: asyncio.Queue[str | Exception] = asyncio.Queue()

    async def __call__(self) -> str:
        self.begun += 1
        outcome = await self.outcomes.get()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def begin(shared: Shared[str], work: Callable[[], Awaitable[str]], *keys: str) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(shared.get(key, work)) for key in keys]
    await asyncio.sleep(0)
    return tasks


async def test_who_asks_meanwhile_gets_the_same_and_who_asks_later_a_new_one() -> None:
    metrics = Metrics()
    shared, work = Shared[str](metrics), Work()
    tasks = await begin(shared, work, *"aaa")
    work.outcomes.put_nowait("first")
    assert await asyncio.gather(*tasks) == ["first"] * 3
    work.outcomes.put_nowait("second")
    assert await shared.get("a", work) == "second"
    assert work.begun == 2
    assert metrics.registry.get_sample_value("image_worker_fetches_shared_total") == 2


async def test_other_addresses_are_other_fetches() -> None:
    shared, work = Shared[str](Metrics()), Work()
    tasks = await begin(shared, work, *"ab")
    work.outcomes.put_nowait("one")
    work.outcomes.put_nowait("two")
    assert await asyncio.gather(*tasks) == ["one", "two"]


async def test_an_error_is_everybodys() -> None:
    shared, work = Shared[str](Metrics()), Work()
    tasks = await begin(shared, work, *"aaa")
    work.outcomes.put_nowait(Rejected(Reason.HTTP_CLIENT_ERROR, "status 404"))
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found] == [Rejected] * 3


async def test_where_the_first_is_cancelled_the_next_begins_anew() -> None:
    shared, work = Shared[str](Metrics()), Work()
    first, *others = await begin(shared, work, *"aaa")
    first.cancel()
    await asyncio.wait([first])
    await asyncio.sleep(0)
    work.outcomes.put_nowait("anew")
    assert await asyncio.gather(*others) == ["anew"] * 2
    assert work.begun == 2


async def test_who_is_cancelled_while_following_disturbs_nobody() -> None:
    shared, work = Shared[str](Metrics()), Work()
    first, second, third = await begin(shared, work, *"aaa")
    second.cancel()
    await asyncio.sleep(0)
    work.outcomes.put_nowait("whole")
    assert await asyncio.gather(first, third) == ["whole"] * 2
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_one_host_is_asked_once_and_each_record_keeps_its_own_digest(serve: Any, fetcher: Any) -> None:
    arrived = asyncio.Event()

    async def slowly(_: Any) -> Any:
        await arrived.wait()
        return web.Response(body=b"image")

    host = await serve(slowly)
    agent = await fetcher(host)
    references = [ImageReference(address=host.url(), sha256=digest * 64) for digest in "ab"]
    tasks = [asyncio.create_task(agent.fetch(reference)) for reference in references]
    await asyncio.sleep(0.05)
    arrived.set()
    found = await asyncio.gather(*tasks)
    assert len(host.requests) == 1
    assert [image.expected_sha256 for image in found] == ["a" * 64, "b" * 64]
    assert agent._budget._free < agent._budget.total_bytes
    del tasks, found
    await asyncio.sleep(0)
    assert agent._budget._free == agent._budget.total_bytes
