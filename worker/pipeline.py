"""The way of one event: one record, one coroutine, one outcome. On the event loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from worker.chain import Chain
from worker.errors import Fatal, Reason, Rejected, Stage, Transient
from worker.kafka.classification import Classifications, Timing
from worker.kafka.codec import EventDecoder
from worker.kafka.deadletter import DeadLetters
from worker.kafka.ledger import Ticket
from worker.observe.metrics import Metrics
from worker.policy import Policy
from worker.records import ImageReference, Outcome, SourceRecord

log = structlog.get_logger(__name__)

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 15.0


class Pipeline:
    """Carries every admitted ticket to exactly one outcome."""

    def __init__(
        self,
        codec: EventDecoder,
        chain: Chain,
        policy: Policy,
        classifications: Classifications,
        dead_letters: DeadLetters,
        metrics: Metrics,
        *,
        finish: Callable[[Ticket, Outcome], None],
        hold_back: Callable[[bool], None],
    ) -> None:
        self._codec = codec
        self._chain = chain
        self._policy = policy
        self._classifications = classifications
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._finish = finish
        self._hold_back = hold_back
        self._tasks: dict[Ticket, asyncio.Task[None]] = {}
        self._waiting: dict[Ticket, Transient] = {}
        self._at_large = 0
        """Of those that wait, how many do for an outage of everything."""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the Fatal that a record ran into. Whoever runs the pipeline awaits it."""

    @property
    def outage(self) -> str | None:
        """What records are waiting for, while any is."""
        return str(next(reversed(self._waiting.values()))) if self._waiting else None

    def admit(self, tickets: Sequence[Ticket]) -> None:
        """Start the way of these tickets."""
        for ticket in tickets:
            task = asyncio.get_running_loop().create_task(self._carry(ticket))
            self._tasks[ticket] = task

    def abandon(self, tickets: Sequence[Ticket]) -> None:
        """Stop the way of tickets that became void."""
        for ticket in tickets:
            if (task := self._tasks.pop(ticket, None)) is not None:
                task.cancel()

    async def close(self) -> None:
        """Stop whatever is still on its way."""
        tasks = list(self._tasks.values())
        self.abandon(list(self._tasks))
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry(self, ticket: Ticket) -> None:
        try:
            self._finish(ticket, await self._patiently(ticket))
        except Fatal as failure:
            self._fail(failure)
        except Exception as fault:
            # Without an outcome its partition would stand still for good, and the worker look well.
            where = str(ticket.record.coordinates)
            log.exception("pipeline.no_outcome", record=where, next="stop: it is not committed")
            self._fail(Fatal(f"{where}: no outcome could be made of it: {fault!r}: see the log for its traceback"))
        finally:
            self._tasks.pop(ticket, None)

    def _fail(self, failure: Fatal) -> None:
        if not self.failed.done():
            self.failed.set_exception(failure)

    async def _patiently(self, ticket: Ticket) -> Outcome:
        """The outcome of a ticket. An outage of our own is waited out, however long it lasts."""
        try:
            return await self._outcome(ticket)
        except Transient as outage:
            return await self._after(outage, ticket)

    async def _after(self, outage: Transient, ticket: Ticket) -> Outcome:
        """The outcome of a ticket when the outage that it met is over."""
        wait_s = _FIRST_WAIT_S
        try:
            while True:
                self._waits(ticket, outage)
                await _over(outage, random.uniform(wait_s / 2, wait_s))
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                try:
                    return await self._outcome(ticket)
                except Transient as again:
                    outage = again
        finally:
            self._waits(ticket, None)

    def _waits(self, ticket: Ticket, outage: Transient | None) -> None:
        """Note what a ticket waits for, None where it waits no more. While one waits at large, nothing is taken in."""
        if outage is not None and not self._waiting:
            log.warning("pipeline.outage", what=str(outage), next="records wait and are tried again")
        before = self._waiting.pop(ticket, None)
        if outage is not None:
            self._waiting[ticket] = outage
        self._at_large += _is_at_large(outage) - _is_at_large(before)
        self._hold_back(self._at_large > 0)
        self._metrics.waiting.set(len(self._waiting))
        if not self._waiting:
            log.info("pipeline.outage_over")

    async def _outcome(self, ticket: Ticket) -> Outcome:
        record = ticket.record
        try:
            if record.value is None:
                return self._classifications.tombstone(record)
            return await self._classification(ticket)
        except Rejected as rejected:
            return self._dead_letters.make(record, rejected)
        except (Transient, Fatal):
            raise
        except Exception as fault:
            # A fault of ours on one record must not stop all the others, nor be hidden: it is logged and redriven.
            log.exception("pipeline.internal_error", record=str(record.coordinates))
            return self._dead_letters.make(record, Rejected(Reason.INTERNAL_ERROR, repr(fault)))

    async def _classification(self, ticket: Ticket) -> Outcome:
        ticket.stage = Stage.EVENT
        reference = await self._codec.decode(ticket.record)
        event_s = time.monotonic() - ticket.opened_s
        try:
            seen = await self._chain.classify(reference, ticket)
        except Rejected as rejected:
            return self._unscannable(ticket.record, reference, rejected, event_s)
        return self._classifications.make(
            ticket.record,
            reference,
            seen.pixels,
            seen.prediction,
            seen.decision,
            Timing(event_s, seen.fetch_s, seen.decode_s),
            self._policy.topic(seen.decision.action),
        )

    def _unscannable(
        self, record: SourceRecord, reference: ImageReference, rejected: Rejected, event_s: float
    ) -> Outcome:
        """The outcome of an image that cannot be decoded, where the policy has an action for it. Raises `rejected`."""
        decision = self._policy.unscannable
        if decision is None or rejected.reason.stage is not Stage.DECODE:
            raise rejected
        topic, timing = self._policy.topic(decision.action), Timing(event_s, 0.0, 0.0)
        return self._classifications.unscannable(record, reference, rejected, decision, timing, topic)


def _is_at_large(outage: Transient | None) -> bool:
    return outage is not None and outage.over is not None


async def _over(outage: Transient, longest_s: float) -> None:
    """Wait until an outage is known to be over, and no longer than this."""
    if outage.over is None:
        await asyncio.sleep(longest_s)
        return
    with suppress(TimeoutError):
        await asyncio.wait_for(outage.over(), longest_s)
