"""The places at each host, who waits for one, and what is remembered of the host. Owned by the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

from worker.errors import Reason
from worker.images.answers import MayPass
from worker.images.breaker import Breaker
from worker.images.deadline import Deadline

_REMEMBERED = 4096
"""Hosts kept at most: an address names any host it likes, and memory has a bound."""


class Place:
    """One who waits for a place at a host. The result says whether theirs is the try that tests the host."""

    __slots__ = ("answer", "deadline", "joined_s", "parked")

    def __init__(self, deadline: Deadline) -> None:
        loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[bool] = loop.create_future()
        self.deadline = deadline
        self.joined_s = loop.time()
        self.parked = False
        """Whether it counts as held up by the host."""


class Host:
    """One host, by name and port."""

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.breaker = Breaker()
        self.running = 0
        self.held_up = 0
        """Of the running, those that have waited for the host for long."""
        self._limit = limit
        self._queue: deque[Place] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def troubled(self) -> bool:
        """Whether those who wait do so for the host's sake, not for ours."""
        return self.breaker.rests_until is not None or 2 * self.held_up > self.running

    @property
    def idle(self) -> bool:
        return not self.running and not self._queue

    def enter_now(self) -> bool | None:
        """Take a place if one is free and nobody waits: whether it tests the host. None where there is none."""
        return self._begin() if not self._queue and self._has_room() else None

    def join(self, place: Place) -> None:
        """Begin to wait."""
        self._queue.append(place)
        self._serve()

    def give_up(self, place: Place) -> None:
        """End a wait that has lasted too long."""
        self._queue.remove(place)
        why = self.breaker.why or "it stalls"
        place.answer.set_exception(MayPass(Reason.HOST_UNAVAILABLE, f"{self.name} is left alone: {why}"))

    def leave(self, *, probe: bool) -> None:
        """Give a place back, and let the next have it."""
        self.running -= 1
        self.breaker.ended(probe=probe)
        self._serve()

    def forgive(self) -> None:
        """It was not to blame for what failed."""
        self.breaker.forgive()
        self._serve()

    def _has_room(self) -> bool:
        return self.running < self._limit and self.breaker.admits(asyncio.get_running_loop().time())

    def _begin(self) -> bool:
        self.running += 1
        return self.breaker.begin()

    def _serve(self) -> None:
        """Let those in who may, and look again when the host has rested."""
        while self._queue and self._has_room():
            place = self._queue.popleft()
            if not place.answer.done():
                place.answer.set_result(self._begin())
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        rests_until, loop = self.breaker.rests_until, asyncio.get_running_loop()
        if self._queue and rests_until is not None and rests_until > loop.time():
            self._alarm = loop.call_at(rests_until, self._serve)


class Hosts:
    """The hosts that are in use, or worth remembering."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._hosts: dict[str, Host] = {}

    def __iter__(self) -> Iterator[Host]:
        return iter(list(self._hosts.values()))

    def at(self, name: str) -> Host:
        """The host of this `name:port`."""
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = Host(name, self._limit)
            if len(self._hosts) > _REMEMBERED:
                self._forget_one()
        return host

    def tidy(self, host: Host) -> None:
        """Forget a host of which there is nothing to remember."""
        if host.idle and host.breaker.pristine:
            self._hosts.pop(host.name, None)

    def _forget_one(self) -> None:
        oldest = next((host for host in self._hosts.values() if host.idle), None)
        if oldest is not None:
            del self._hosts[oldest.name]
