"""How many fetches go to which host at once, so that a host in trouble costs only its own images.

Three limits: tries at once to one host, tries at once in all, and tries that a host holds up. A try that has waited for
its host for longer than a second gives its place among all tries to another, so hosts that stall, however many, leave
room for those that do not; where too many are held up, the one held up for longest is given up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from worker.errors import Reason, Rejected
from worker.images.answers import MayPass
from worker.images.deadline import Deadline
from worker.images.hosts import Host, Hosts, Place
from worker.images.settings import ImagesSettings
from worker.observe.metrics import Metrics

SLOW_S = 1.0
"""A fetch that waits for its host for longer is held up. Nearly all images of a host that is well arrive sooner."""


class Turn:
    """One try's place on the network: `async with traffic.turn(host, deadline):`. What it raises is told to the host.

    Waiting for it is no part of the deadline. Raises MayPass(HOST_UNAVAILABLE) where the host is in trouble for longer
    than the deadline's patience.
    """

    __slots__ = ("_traffic", "alarm", "deadline", "held_up", "host", "probe")

    def __init__(self, traffic: Traffic, host: Host, deadline: Deadline) -> None:
        self._traffic = traffic
        self.host = host
        self.deadline = deadline
        self.probe = False
        self.held_up = False
        self.alarm: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Turn:
        await self._traffic.enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._traffic.leave(self, error)

    @contextmanager
    def waiting_for_us(self) -> Iterator[None]:
        """Hold nothing against the host for the time inside."""
        self._traffic.unwatch(self)
        with self.deadline.paused():
            yield
        if not self.held_up:
            self._traffic.watch(self)


class Traffic:
    """Gives turns. Owned by the event loop."""

    def __init__(self, settings: ImagesSettings, metrics: Metrics) -> None:
        self._free = self._most_held_up = settings.max_connections
        self._metrics = metrics
        self._hosts = Hosts(settings.max_connections_per_host)
        self._queue: deque[asyncio.Future[None]] = deque()
        self._stalled: dict[Turn, None] = {}
        """Turns whose hosts hold them up, the longest first."""
        self.held_up = 0
        """Fetches that wait for a host in trouble: stalled, in its queue, or between two tries. Any thread may read."""

    def turn(self, name: str, deadline: Deadline) -> Turn:
        """A turn at a host, by `name:port`."""
        return Turn(self, self._hosts.at(name), deadline)

    def may_retry(self, name: str) -> bool:
        """Whether the host's budget has another try for an image that had its first."""
        return self._hosts.at(name).breaker.take_retry()

    @contextmanager
    def between_tries(self) -> Iterator[None]:
        """The fetch is held up for the time inside."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def forgive(self) -> None:
        """Close every breaker: it was our own network that failed."""
        for host in self._hosts:
            host.forgive()
            self._hosts.tidy(host)
        self._metrics.hosts_resting.set(0)

    async def enter(self, turn: Turn) -> None:
        """Wait for the turn; `Turn` calls it."""
        probe = turn.host.enter_now()
        if probe is None:
            with turn.deadline.paused():
                probe = await self._at_the_host(turn)
        turn.probe = probe
        try:
            if self._free > 0:
                self._free -= 1
            else:
                with turn.deadline.paused():
                    await self._among_all()
        except BaseException:
            turn.host.leave(probe=probe)
            raise
        self.watch(turn)

    def leave(self, turn: Turn, error: BaseException | None) -> None:
        """End a turn with what came of it; `Turn` calls it."""
        self.unwatch(turn)
        if turn.held_up:
            del self._stalled[turn]
            turn.host.held_up -= 1
            self._count(-1)
        else:
            self._give_back()
        self._judge(turn, error)
        turn.host.leave(probe=turn.probe)
        self._hosts.tidy(turn.host)

    def watch(self, turn: Turn) -> None:
        """From now on the host is waited for."""
        turn.alarm = asyncio.get_running_loop().call_later(SLOW_S, self._stalls, turn)

    def unwatch(self, turn: Turn) -> None:
        """What is waited for now is not the host."""
        if turn.alarm is not None:
            turn.alarm.cancel()

    def _judge(self, turn: Turn, error: BaseException | None) -> None:
        breaker, now = turn.host.breaker, asyncio.get_running_loop().time()
        rested = breaker.rests_until is not None
        if error is None or (isinstance(error, Rejected) and error.reason is not Reason.FORBIDDEN_ADDRESS):
            breaker.succeeded()
        elif isinstance(error, MayPass) or turn.deadline.left_s() <= 0:
            why = str(error) or "it stalls"
            breaker.failed(why, now, first=turn.deadline.first_try, probe=turn.probe)
        self._metrics.hosts_resting.inc((breaker.rests_until is not None) - rested)

    async def _at_the_host(self, turn: Turn) -> bool:
        """Wait in the host's queue, for as long as there is patience where the host is in trouble."""
        host, place = turn.host, Place(turn.deadline)
        host.join(place)
        if host.troubled and not place.answer.done():
            self._park(place)
        self._look_later(host, place)
        try:
            return await place.answer
        except asyncio.CancelledError:
            if place.answer.done() and not place.answer.cancelled() and place.answer.exception() is None:
                host.leave(probe=place.answer.result())
            raise
        finally:
            if place.parked:
                self._count(-1)

    def _look_later(self, host: Host, place: Place) -> None:
        step_s = min(SLOW_S, max(0.0, place.deadline.patience_s))
        asyncio.get_running_loop().call_later(step_s, self._still_waits, host, place, step_s)

    def _still_waits(self, host: Host, place: Place, waited_s: float) -> None:
        """Count the wait against the host, if the host is its reason, and end it with the record's patience."""
        if place.answer.done():
            return
        if not host.troubled:
            asyncio.get_running_loop().call_later(SLOW_S, self._still_waits, host, place, 0.0)
            return
        place.deadline.patience_s -= waited_s
        if place.deadline.patience_s <= 0:
            host.give_up(place)
            return
        if not place.parked:
            self._park(place)
        self._look_later(host, place)

    def _park(self, place: Place) -> None:
        place.parked = True
        self._count(1)

    async def _among_all(self) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._give_back()
            raise

    def _give_back(self) -> None:
        """A place among all is free: the next in the queue has it at once."""
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _stalls(self, turn: Turn) -> None:
        turn.held_up = True
        turn.host.held_up += 1
        if len(self._stalled) >= self._most_held_up:
            next(iter(self._stalled)).deadline.cut()
        self._stalled[turn] = None
        self._count(1)
        self._give_back()

    def _count(self, change: int) -> None:
        self.held_up += change
        self._metrics.held_up.set(self.held_up)
