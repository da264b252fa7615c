"""Turns on the network: what waits for whom, and what a host in trouble costs the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from worker.errors import Reason, Rejected
from worker.images import traffic as room
from worker.images.answers import MayPass
from worker.images.deadline import Deadline
from worker.images.settings import ImagesSettings
from worker.images.traffic import Traffic
from worker.observe.metrics import Metrics


def new(**settings: Any) -> Traffic:
    return Traffic(ImagesSettings(**settings), Metrics())


@asynccontextmanager
async def turn(traffic: Traffic, host: str, patience_s: float = 60.0, total_s: float = 60.0) -> AsyncIterator[None]:
    async with asyncio.timeout(total_s) as timeout, traffic.turn(host, Deadline(timeout, total_s, patience_s)):
        yield


async def fail(traffic: Traffic, host: str, times: int = 10) -> None:
    for _ in range(times):
        with pytest.raises(MayPass):
            async with turn(traffic, host):
                raise MayPass(Reason.HTTP_SERVER_ERROR, "status 500")


class Holding:
    """Someone who has a turn and keeps it."""

    def __init__(self, traffic: Traffic, host: str, **more: Any) -> None:
        self.has_it = asyncio.Event()
        self._done = asyncio.Event()
        self.task = asyncio.create_task(self._hold(traffic, host, more))

    async def _hold(self, traffic: Traffic, host: str, more: dict[str, Any]) -> None:
        async with turn(traffic, host, **more):
            self.has_it.set()
            await self._done.wait()

    async def finish(self) -> None:
        self._done.set()
        await self.task


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def hold() -> AsyncIterator[Callable[..., Awaitable[Holding]]]:
    held: list[Holding] = []

    async def start(traffic: Traffic, host: str, **more: Any) -> Holding:
        held.append(Holding(traffic, host, **more))
        await settle()
        return held[-1]

    yield start
    for each in held:
        each.task.cancel()
    await asyncio.gather(*(each.task for each in held), return_exceptions=True)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host is slow after some milliseconds."""
    monkeypatch.setattr(room, "SLOW_S", 0.01)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_host_takes_no_more_than_its_limit_and_the_next_in_its_queue_follows(hold: Any) -> None:
    traffic = new(max_connections_per_host=2)
    first, _, third, fourth = [await hold(traffic, "a:80") for _ in range(4)]
    assert (third.has_it.is_set(), fourth.has_it.is_set()) == (False, False)
    await first.finish()
    await settle()
    assert (third.has_it.is_set(), fourth.has_it.is_set()) == (True, False)


async def test_a_host_at_its_limit_keeps_nobody_from_another(hold: Any) -> None:
    traffic = new(max_connections_per_host=1)
    for _ in range(10):
        await hold(traffic, "a:80")
    assert (await hold(traffic, "b:80")).has_it.is_set()


async def test_all_together_take_no_more_than_the_limit(hold: Any) -> None:
    traffic = new(max_connections=2)
    first, _, third = [await hold(traffic, f"{name}:80") for name in "abc"]
    assert not third.has_it.is_set()
    await first.finish()
    await settle()
    assert third.has_it.is_set()


async def test_who_gives_up_waiting_leaves_no_place_behind(hold: Any) -> None:
    traffic = new(max_connections_per_host=1, max_connections=1)
    first, second, third, last = [await hold(traffic, name) for name in ("a:80", "a:80", "b:80", "a:80")]
    for waits in (second, third):
        waits.task.cancel()
    await first.finish()
    await settle()
    assert last.has_it.is_set()
    await last.finish()
    assert (await hold(traffic, "b:80")).has_it.is_set()


async def test_who_is_cancelled_in_the_moment_of_its_turn_passes_it_on(hold: Any) -> None:
    traffic = new(max_connections_per_host=1, max_connections=1)
    first, second, third = [await hold(traffic, "a:80") for _ in range(3)]
    await first.finish()  # gives the place to the second, which has not run since
    second.task.cancel()
    await settle()
    assert third.has_it.is_set()


@pytest.mark.usefixtures("at_once")
async def test_hosts_that_stall_leave_room_for_those_that_do_not(hold: Any) -> None:
    traffic = new(max_connections=4)
    for number in range(4):
        await hold(traffic, f"stalls-{number}:80")
    good = await hold(traffic, "good:80")
    await asyncio.wait_for(good.has_it.wait(), 10)
    await until(lambda: traffic.held_up == 4)
    assert good.has_it.is_set()


@pytest.mark.usefixtures("at_once")
async def test_where_too_many_stall_the_one_held_up_for_longest_is_given_up(hold: Any) -> None:
    traffic = new(max_connections=2)
    first = await hold(traffic, "stalls-1:80")
    await until(lambda: traffic.held_up == 1)
    for number in (2, 3):
        await hold(traffic, f"stalls-{number}:80")
    with pytest.raises(TimeoutError):
        await first.task
    await until(lambda: traffic.held_up == 2)


async def test_a_fetch_that_is_cut_off_says_that_its_host_stalls() -> None:
    verdicts: list[Reason] = []
    try:
        async with asyncio.timeout(60) as timeout:
            deadline = Deadline(timeout, 60, 10)
            verdicts.append(deadline.verdict().reason)
            deadline.cut()
            await asyncio.sleep(60)
    except TimeoutError:
        verdicts.append(deadline.verdict().reason)
    assert verdicts == [Reason.FETCH_TIMEOUT, Reason.HOST_UNAVAILABLE]


async def test_a_host_that_fails_is_left_alone_for_as_long_as_a_record_has_patience() -> None:
    traffic = new()
    await fail(traffic, "bad:80")
    with pytest.raises(MayPass, match=r"bad:80 is left alone: status 500") as caught:
        async with turn(traffic, "bad:80", patience_s=0.05):
            pytest.fail("the host is not to be tried")
    assert caught.value.reason is Reason.HOST_UNAVAILABLE
    async with turn(traffic, "good:80"):
        pass


async def test_one_record_tests_a_host_that_has_rested_and_its_answer_lets_the_others_in() -> None:
    traffic, order = new(), []
    await fail(traffic, "bad:80")

    async def ask(name: str) -> None:
        async with turn(traffic, "bad:80"):
            order.append(f"{name} begins")
            await asyncio.sleep(0.01)
            order.append(f"{name} ends")

    await asyncio.wait_for(asyncio.gather(*(ask(name) for name in "xyz")), 10)
    assert order[:2] == ["x begins", "x ends"]
    assert sorted(order[2:4]) == ["y begins", "z begins"]


async def test_answers_of_any_kind_are_no_trouble() -> None:
    traffic = new()
    for _ in range(50):
        with pytest.raises(Rejected):
            async with turn(traffic, "a:80"):
                raise Rejected(Reason.HTTP_CLIENT_ERROR, "status 404")
    async with turn(traffic, "a:80", patience_s=0):
        pass


async def test_a_fetch_that_was_abandoned_is_not_the_hosts_fault(hold: Any) -> None:
    traffic = new()
    for _ in range(20):
        held = await hold(traffic, "a:80")
        held.task.cancel()
        await settle()
    assert traffic._hosts.at("a:80").enter_now() is False, "a place at once, and no test of the host"


async def test_a_fetch_that_ran_into_its_deadline_is(hold: Any) -> None:
    traffic = new()
    stalled = [await hold(traffic, "a:80", total_s=0.01) for _ in range(10)]
    await asyncio.gather(*(each.task for each in stalled), return_exceptions=True)
    with pytest.raises(MayPass, match="left alone"):
        async with turn(traffic, "a:80", patience_s=0.01):
            pass


async def test_waiting_for_our_own_limit_is_no_trouble_of_the_hosts(hold: Any) -> None:
    traffic = new(max_connections_per_host=1)
    first = await hold(traffic, "a:80")
    second = await hold(traffic, "a:80", patience_s=0.01)
    await asyncio.sleep(0.05)
    assert not second.has_it.is_set()
    assert not second.task.done()
    await first.finish()
    await asyncio.wait_for(second.has_it.wait(), 10)


@pytest.mark.usefixtures("at_once")
async def test_waiting_for_a_host_that_stalls_at_its_limit_is(hold: Any) -> None:
    traffic = new(max_connections_per_host=1)
    await hold(traffic, "a:80")
    await until(lambda: traffic.held_up == 1)
    with pytest.raises(MayPass, match="it stalls"):
        async with turn(traffic, "a:80", patience_s=0.05):
            pass
    assert traffic.held_up == 1


async def test_after_an_outage_of_our_own_no_host_is_left_alone() -> None:
    traffic = new()
    await fail(traffic, "a:80")
    traffic.forgive()
    assert traffic._hosts.at("a:80").enter_now() is False, "a place at once, and no test of the host"


async def test_the_metrics_say_how_many_hosts_rest() -> None:
    metrics = Metrics()
    traffic = Traffic(ImagesSettings(), metrics)
    await fail(traffic, "a:80")
    await fail(traffic, "b:80")
    assert metrics.registry.get_sample_value("image_worker_hosts_resting") == 2
    traffic.forgive()
    assert metrics.registry.get_sample_value("image_worker_hosts_resting") == 0


async def test_hosts_that_are_well_are_forgotten() -> None:
    traffic = new()
    for number in range(100):
        async with turn(traffic, f"host-{number}:80"):
            pass
    assert list(traffic._hosts) == []
    for number in range(5000):
        traffic.may_retry(f"bad-{number}:80")
    assert len(list(traffic._hosts)) <= 4096
