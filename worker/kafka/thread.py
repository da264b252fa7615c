"""The Kafka thread: the one owner of the source, the sink and the ledger.

Its loop polls, takes records in within the budget, hands them to the event loop, collects finished outcomes from a
queue, and settles. Rebalance callbacks run inside its `poll`, so settlement and revocation can never race.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress

import structlog
from confluent_kafka import Message

from worker.errors import Fatal
from worker.kafka.intake import Intake
from worker.kafka.ledger import Ledger, Partition, Position, Ticket
from worker.kafka.messages import size_bytes, source_record
from worker.kafka.poll_errors import Gap
from worker.kafka.settings import KafkaSettings
from worker.kafka.settling import SETTLE_STEP_S, Settling
from worker.kafka.sink import Sink
from worker.kafka.source import Source
from worker.kafka.starts import Start
from worker.kafka.status import Reporter
from worker.kafka.window import Window
from worker.observe.metrics import Metrics
from worker.observe.watchdog import Part
from worker.records import Outcome

log = structlog.get_logger(__name__)

_BUSY_POLL_S = 0.005
"""The longest a finished outcome waits to be seen."""
_IDLE_POLL_S = 0.2
_ADMIT_AT_ONCE = 256


class KafkaThread:
    """Takes records in and settles their outcomes, on a thread of its own.

    `deliver` and `abandon` are called on this thread and must return at once; `held_up` likewise, for the number of
    records that wait for hosts in trouble. `ended` is done when the thread is: with None after `stop` or at the end of
    the window that is given for a replay, with the error otherwise.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        sink: Sink,
        metrics: Metrics,
        *,
        deliver: Callable[[list[Ticket]], None],
        abandon: Callable[[list[Ticket]], None],
        held_up: Callable[[], int] = lambda: 0,
        window: Window | None = None,
    ) -> None:
        self._settings = settings
        self._sink = sink
        self._metrics = metrics
        self._deliver = deliver
        self._ledger = Ledger(in_order=settings.order == "source")
        self._window = window
        self._source = Source(settings, self, window)
        self._intake = Intake(settings, self._ledger, self._source, metrics, held_up, window)
        self.reporter = Reporter(self._ledger, self._source, metrics, settings.stuck_after_s)
        self._settling = Settling(settings, self._ledger, sink, self._source, self.reporter, metrics, abandon, held_up)
        self._taken_in: list[Ticket] = []
        """Tickets that are not handed over yet."""
        self._stop = threading.Event()
        self._leaving = False
        self._thread = threading.Thread(target=self._run, name="kafka", daemon=True)
        self.ended: Future[None] = Future()

    def start(self) -> None:
        self._thread.start()

    def part(self, limit_s: float) -> Part:
        """What a watchdog watches."""
        return Part("Kafka thread", self._thread, lambda: None if self.ended.done() else self.reporter.beat_s, limit_s)

    def finish(self, ticket: Ticket, outcome: Outcome) -> None:
        """Hand in the outcome of a ticket. From any thread."""
        self._settling.finish(ticket, outcome)

    def hold_back(self, yes: bool) -> None:
        """Take nothing in while records wait for an outage of our own, or go on. From any thread."""
        self._intake.held_back = yes

    def stop(self, *, drain: bool = True) -> None:
        """Begin to leave, settling what is in flight within the drain deadline, or nothing more. From any thread.

        One deadline, for rebalances in the meantime as well. A drain under way ends when it is told that nothing more
        is to be settled.
        """
        leave_by_s = time.monotonic() + (self._settings.drain_deadline_s if drain else 0.0)
        self._settling.leave_by_s = min(self._settling.leave_by_s, leave_by_s)
        self._stop.set()

    # Rebalances: called inside poll and close, on this thread.

    def assigned(self, partitions: Sequence[Partition]) -> None:
        self.reporter.joined = True
        self._heard("assigned", partitions)

    def begun(self, starts: Mapping[Partition, Start]) -> None:
        for partition, start in starts.items():
            self._ledger.assign(partition, start.progress, start.position.leader_epoch)
        if self._window is not None:
            self._window.assigned({partition: start.progress for partition, start in starts.items()})
        self.reporter.begun({partition: start.position.offset for partition, start in starts.items()})

    def revoked(self, partitions: Sequence[Partition]) -> None:
        self._heard("revoked", partitions)
        # This poll may be one of several: what the earlier ones brought must be worked on to be drained.
        self._hand_over()
        if not self._leaving:
            self._settling.drain(partitions)
        self._settling.forget(partitions)

    def lost(self, partitions: Sequence[Partition]) -> None:
        self.reporter.joined = False
        self._heard("lost", partitions)
        self._hand_over()
        self._settling.forget(partitions)

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float) -> bool:
        """Commit starts and ends, which have no outcomes."""
        return self._sink.commit(positions, self._source, timeout_s)

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            self._open_sink()
            self._work()
        except BaseException as error:  # noqa: BLE001 - whoever awaits `ended` raises it
            failure = error
        left = self._leave()
        failure = failure or left
        if failure is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(failure)

    def _open_sink(self) -> None:
        """Before there are records: what an earlier run left open would hold back the offsets to begin with."""
        while not self._stop.is_set() and not self._sink.open(SETTLE_STEP_S):
            self.reporter.opening = True
            self._settling.step()
        self.reporter.opening = False

    def _work(self) -> None:
        """Until a stop or a gap; then settle what is left, which whoever moves the group past a gap would pass over."""
        gap: Gap | None = None
        try:
            while not self._stop.is_set():
                self._cycle()
        except Gap as found:
            gap = found
        self._settling.drain(self._ledger.partitions, self._hear)
        if gap is not None:
            raise gap

    def _hear(self) -> None:
        """Hear of commits and rebalances, and take nothing more in. A gap is of no concern any more."""
        if not self._source.fetching.paused:
            self._source.fetching.pause()
        with suppress(Gap):
            self._admit(_BUSY_POLL_S)

    def _leave(self) -> BaseException | None:
        """Leave the group and let go of the broker. What is not settled by now is not committed."""
        self._leaving = True
        try:
            with closing(self._sink):
                self._source.close()
        except Exception as error:  # noqa: BLE001 - returned, and raised by whoever awaits `ended`
            return error
        return None

    def _cycle(self) -> None:
        self._settling.step()
        if self._intake.full():
            # Under pressure outcomes come by the hundreds a second: looking now and then is cheaper.
            self._stop.wait(_BUSY_POLL_S)
        else:
            busy = self._ledger.in_flight or self._source.waiting
            self._admit(_BUSY_POLL_S if busy else _IDLE_POLL_S)
            self._look_for_the_end()
        self._settling.collect(0)
        if self._settling.due():
            self._settling.settle(SETTLE_STEP_S)
        self.reporter.report(time.monotonic())

    def _look_for_the_end(self) -> None:
        """Right after a poll, by which it is known whether the last settlement's commit was answered."""
        if self._window is not None and self._window.is_over(self._ledger, self.commit):
            self._stop.set()

    def _admit(self, timeout_s: float) -> None:
        """Take in what has arrived, as far as the budget goes, and hand it over together."""
        try:
            self._settling.polls()
            message = self._source.poll(timeout_s)
            while message is not None:
                self._open(message)
                if len(self._taken_in) >= _ADMIT_AT_ONCE or self._intake.full():
                    break
                message = self._source.poll(0)
        finally:
            self._hand_over()

    def _open(self, message: Message) -> None:
        record = source_record(message)
        ticket = self._ledger.open(
            record, now_s=time.monotonic(), size_bytes=size_bytes(record), leader_epoch=message.leader_epoch()
        )
        if ticket is not None:
            self._taken_in.append(ticket)
            self._intake.took()

    def _hand_over(self) -> None:
        if self._taken_in:
            tickets, self._taken_in = self._taken_in, []
            self._metrics.records.labels(self._settings.topics.input).inc(len(tickets))
            self._deliver(tickets)

    def _heard(self, event: str, partitions: Collection[Partition]) -> None:
        self._metrics.rebalances.labels(event).inc()
        log.info(f"kafka.{event}", partitions=[f"{topic}[{number}]" for topic, number in partitions])


def raise_ended(ended: Future[None]) -> None:
    """Raise what ended the thread, if it failed."""
    if ended.done() and (failure := ended.exception()) is not None:
        raise failure if isinstance(failure, Fatal) else Fatal(f"the Kafka thread failed: {failure!r}") from failure
