"""Whether it is the network or the host: hosts on loopback that all die, or that die alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.name_server import name_server
from worker.errors import Rejected, Transient
from worker.images import network as room
from worker.images.fetch import Fetcher
from worker.images.settings import ImagesSettings
from worker.observe.metrics import Metrics
from worker.records import ImageReference

HOSTS = [f"127.0.0.{last}" for last in range(1, 6)]
NewFetcher = Callable[..., Awaitable[Fetcher]]


class Place:
    """One port on five addresses of loopback; a server on each of them that can be ended and started again."""

    def __init__(self) -> None:
        self.port = 0
        self._servers: dict[str, asyncio.Server] = {}

    def url(self, host: str) -> str:
        return f"http://{host}:{self.port}/"

    async def start(self, *hosts: str) -> None:
        for host in hosts:
            server = await asyncio.start_server(self._answer, host, self.port, reuse_address=True)
            self.port = server.sockets[0].getsockname()[1]
            self._servers[host] = server

    async def end(self, *hosts: str) -> None:
        for host in hosts:
            self._servers.pop(host).close()

    @staticmethod
    async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
        except asyncio.IncompleteReadError:
            return  # somebody only tried whether there is a connection
        finally:
            writer.close()


@pytest.fixture
async def place(closing: Any) -> Place:
    made = Place()
    await made.start(*HOSTS)
    closing.push_async_callback(lambda: made.end(*made._servers))
    return made


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(room, "_BELIEVED_S", 0.05)


async def ask(fetcher: Fetcher, place: Place, *hosts: str) -> list[type[Exception] | None]:
    """What comes of an image of each host: None, or why not."""
    found = await asyncio.gather(
        *(fetcher.fetch(ImageReference(address=place.url(host))) for host in hosts), return_exceptions=True
    )
    return [type(each) if isinstance(each, Exception) else None for each in found]


async def test_a_host_that_dies_alone_is_to_blame(place: Place, fetcher: NewFetcher) -> None:
    agent = await fetcher(place, retries=0)
    assert await ask(agent, place, *HOSTS) == [None] * 5
    await place.end(HOSTS[0])
    assert await ask(agent, place, HOSTS[0], HOSTS[1]) == [Rejected, None]


async def test_when_most_hosts_die_at_once_nobody_is_to_blame(place: Place, fetcher: NewFetcher) -> None:
    metrics = Metrics()
    agent = await fetcher(place, retries=0, metrics=metrics)
    await ask(agent, place, *HOSTS)
    await place.end(*HOSTS[:4])
    assert await ask(agent, place, *HOSTS) == [Transient] * 4 + [None]
    assert metrics.registry.get_sample_value("image_worker_network_down") == 1


async def test_whoever_waits_is_told_when_most_hosts_answer_again(place: Place, fetcher: NewFetcher) -> None:
    metrics = Metrics()
    agent = await fetcher(place, retries=0, metrics=metrics)
    await ask(agent, place, *HOSTS)
    await place.end(*HOSTS)
    with pytest.raises(Transient) as caught:
        await agent.fetch(ImageReference(address=place.url(HOSTS[0])))
    assert caught.value.over is not None
    await place.start(*HOSTS)
    await asyncio.wait_for(caught.value.over(), 10)
    assert metrics.registry.get_sample_value("image_worker_network_down") == 0
    assert await ask(agent, place, *HOSTS) == [None] * 5


async def test_an_outage_leaves_no_host_in_bad_repute(place: Place, fetcher: NewFetcher) -> None:
    agent = await fetcher(place, retries=0, host_wait_s=0.01)
    await ask(agent, place, *HOSTS)
    await place.end(*HOSTS)
    seen = [outcome for _ in range(20) for outcome in await ask(agent, place, *HOSTS)]
    assert set(seen) == {Transient}, "a host that is left alone in an outage is not to blame either"
    await place.start(*HOSTS)
    await asyncio.wait_for(agent._network.over.wait(), 10)
    assert await ask(agent, place, *HOSTS) == [None] * 5


async def test_when_no_name_can_be_looked_up_any_more_nobody_is_to_blame(place: Place, closing: Any) -> None:
    names = await closing.enter_async_context(name_server())
    for number, host in enumerate(HOSTS):
        names.say(f"host-{number}.example", a=[host])
    settings = ImagesSettings(ports=(place.port,), allow_networks=("127.0.0.0/8",), retries=0)
    agent = Fetcher(settings, Metrics(), resolver=names.resolver)
    await agent.start()
    closing.push_async_callback(agent.close)
    good = [f"host-{number}.example" for number in range(5)]
    assert await ask(agent, place, *good, "nobody.example", HOSTS[0]) == [None] * 5 + [Rejected, None]
    names.silent = True
    # What was looked up a moment ago still works, so it is the new names that fail, and known ones that tell why.
    assert await ask(agent, place, *good, "new.example") == [None] * 5 + [Transient]
    names.silent = False
    await asyncio.wait_for(agent._network.over.wait(), 30)
    assert await ask(agent, place, *good, "new.example") == [None] * 5 + [Rejected]


async def test_thousands_of_dead_hosts_cost_few_questions(
    place: Place, fetcher: NewFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_BELIEVED_S", 60)
    agent = await fetcher(place, retries=0)
    await ask(agent, place, *HOSTS)
    asked: list[bool] = []
    ask_witnesses = agent._network._most_are_silent

    async def counted(names: bool) -> bool:
        asked.append(names)
        return await ask_witnesses(names)

    monkeypatch.setattr(agent._network, "_most_are_silent", counted)
    assert set(await ask(agent, place, *(f"127.0.1.{last}" for last in range(1, 200)))) == {Rejected}
    assert asked == [False]
