"""Whether this worker's own network works, told apart from hosts that fail.

Strangers can name any number of dead hosts. So hosts that answered of late are asked before the network is blamed: it
is down where most of them are silent too.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable

import structlog
from aiohttp.abc import AbstractResolver

from worker.errors import Reason, Transient
from worker.images.answers import MayPass
from worker.images.guard import Guard
from worker.images.settings import ImagesSettings
from worker.images.witnesses import Origin, Witnesses
from worker.observe.metrics import Metrics

log = structlog.get_logger(__name__)

_BELIEVED_S = 2.0
"""How long an answer to "is it down?" holds: dead hosts by the thousands cost one question every two seconds."""
_ASKED = 5
"""At random, so that nobody's dead hosts can be all that is asked."""
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 10.0


class Network:
    """Judges the network and, while it is down, watches for its return. Owned by the event loop."""

    def __init__(
        self,
        settings: ImagesSettings,
        guard: Guard,
        resolver: Callable[[], AbstractResolver],
        metrics: Metrics,
        *,
        returned: Callable[[], None],
    ) -> None:
        self._guard = guard
        self._resolver = resolver
        self._connect_s = settings.connect_timeout_s
        self._metrics = metrics
        self._returned = returned
        self._witnesses = Witnesses(settings.outage_hosts, settings.outage_window_s)
        self._asking = asyncio.Lock()
        self._asked: dict[bool, tuple[float, bool]] = {}
        self._watch: asyncio.Task[None] | None = None
        self.over = asyncio.Event()
        """Set while the network is not known to be down."""
        self.over.set()

    def answered(self, origin: Origin) -> None:
        """A host answered, whatever it said."""
        self._witnesses.answered(origin, asyncio.get_running_loop().time())

    async def judge(self, failure: MayPass, origin: Origin) -> MayPass | Transient:
        """Whom a failed try is blamed on: the host, by the failure itself, or the network, by Transient."""
        if not failure.of_the_network or not await self._is_down(origin, names=failure.reason is Reason.HOST_NOT_FOUND):
            return failure
        over = None if self.over.is_set() else self.over.wait
        return Transient(f"the network at large is down: {failure.detail}", over=over)

    async def _is_down(self, origin: Origin, *, names: bool) -> bool:
        """Whether the failure of a host is the network's. `names`: it could not be looked up."""
        now = asyncio.get_running_loop().time()
        self._witnesses.failed(origin, now)
        if not self.over.is_set() or self._witnesses.none_ever_answered(now):
            return True
        async with self._asking:
            asked_s, down = self._asked.get(names, (-_BELIEVED_S, False))
            if now - asked_s > _BELIEVED_S:
                down = await self._most_are_silent(names)
                self._asked[names] = (asyncio.get_running_loop().time(), down)
        if down and self.over.is_set():
            self._begin_watching(names)
        return down

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    def _begin_watching(self, names: bool) -> None:
        log.error("network.down", what="hosts that answered before are silent", next="watched until most answer again")
        self._metrics.network_down.set(1)
        self.over.clear()
        self._watch = asyncio.get_running_loop().create_task(self._until_most_answer(names))

    async def _until_most_answer(self, names: bool) -> None:
        wait_s = _FIRST_WAIT_S
        try:
            while True:
                await asyncio.sleep(wait_s)
                if not await self._most_are_silent(names):
                    break
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            log.info("network.up")
        finally:
            # Also where this ends by a fault of ours: records must not wait for a watch that nobody keeps.
            self._asked.clear()
            self._metrics.network_down.set(0)
            self.over.set()
            self._returned()

    async def _most_are_silent(self, names: bool) -> bool:
        """Ask some of the hosts that answered of late, each by a new look-up and a new connection."""
        known = self._witnesses.known(names=names)
        origins = random.sample(known, min(_ASKED, len(known)))
        resolver = self._resolver()  # a new one: the one in use remembers what it looked up
        try:
            answers = await asyncio.gather(*(self._answers(origin, resolver, names) for origin in origins))
        finally:
            await resolver.close()
        silent = answers.count(False)
        return 2 * silent > len(answers) and self._witnesses.enough(silent)

    async def _answers(self, origin: Origin, resolver: AbstractResolver, names: bool) -> bool:
        try:
            async with asyncio.timeout(self._connect_s):
                found = await self._look_up(origin, resolver)
                return names or await self._connects(found, origin.port)
        except (OSError, TimeoutError):
            return False

    async def _look_up(self, origin: Origin, resolver: AbstractResolver) -> list[str]:
        if not origin.is_name:
            return [origin.host.strip("[]")]
        results = await resolver.resolve(origin.host, origin.port, socket.AF_UNSPEC)
        return [result["host"] for result in results]

    async def _connects(self, addresses: list[str], port: int) -> bool:
        """Whether one of the addresses that the guard allows takes a connection; which is closed at once."""
        for address in addresses:
            if self._guard.refuse_address(address) is not None:
                continue
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setblocking(False)
                try:
                    await asyncio.get_running_loop().sock_connect(probe, (address, port))
                except OSError:
                    continue
                return True
        return False
