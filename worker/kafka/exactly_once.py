"""Exactly-once: outcomes and the offsets of their events in one transaction.

begin, produce, await every delivery report, send the offsets of what is still ours with the group's metadata, commit.

A transaction may stay open while the thread polls, when the broker is slow or away: to wait for it without polling
would cost the membership, and to abort needs the same broker. That is safe as long as nothing is committed that a
rebalance in such a poll took away. Until the offsets are sent, what the transaction holds is compared with what the
ledger still owns, and it is aborted where a partition is gone. Once the coordinator has taken the offsets, which it
does for no generation that is over, the commit may be answered as late as it likes: a new owner that asks for the
group's offsets is told to wait until the transaction has ended (KIP-447; consumers that read committed ask so).

Nothing is committed outside of a transaction: librdkafka sends such a commit again when its connection breaks, behind a
later transaction perhaps, and the broker takes it (seen on Apache Kafka 4.3.1). So a start, or the end of a replay, is
committed in a transaction that has no outcomes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import structlog
from confluent_kafka import KafkaException

from worker.kafka.attempt import Attempt
from worker.kafka.committer import is_reached
from worker.kafka.deadletter import DeadLetters
from worker.kafka.entries import offsets_of
from worker.kafka.instance import Claim
from worker.kafka.ledger import Partition, Position, Settlement, Ticket
from worker.kafka.refused_offsets import RefusedOffsets
from worker.kafka.settings import KafkaSettings
from worker.kafka.sink import Group, Positions
from worker.kafka.transactions import Aborted, Phase, Transactions

log = structlog.get_logger(__name__)

_UNDER_WAY = {Phase.OPEN, Phase.SENDING, Phase.COMMITTING}
_ASK_S = 1.0
_CLOSE_S = 5.0
_PAUSE_S = 1.0
"""No third transaction is begun in this time after two that were aborted: what is wrong may be so for long."""


class ExactlyOnceSink:
    """Outcomes and offsets in one transaction: readers of committed transactions see each outcome once."""

    def __init__(self, settings: KafkaSettings, dead_letters: DeadLetters) -> None:
        self._dead_letters = dead_letters
        self._claim = Claim(settings)
        self._transactions = Transactions(settings, self._claim.transactional_id)
        self._settlement: Settlement | None = None
        self._suspects: set[Ticket] = set()
        """Of the settlement: refused in a batch with others."""
        self._attempt = self._attempt_at((), ())
        """What the transaction holds."""
        self._sent: Mapping[Partition, Position] = {}
        """The offsets that were sent last."""
        self._membership: Any = None
        """The membership that was sent with them."""
        self._committing = False
        """Whether a settlement's commit was asked for, and is not answered yet."""
        self._apart: Mapping[Partition, Position] | None = None
        """What is under way in a transaction without outcomes."""
        self._refused = RefusedOffsets(settings)
        self._aborted_s = self._again_s = -math.inf
        """When a transaction was aborted last, and when the next one may begin."""

    @property
    def throttled(self) -> bool:
        return self._transactions.throttle.on

    def open(self, timeout_s: float) -> bool:
        return self._transactions.ready(timeout_s)

    def settle(self, settlement: Settlement, positions: Positions, group: Group, timeout_s: float) -> bool:
        if settlement is not self._settlement:
            self._settlement = settlement
            self._suspects.clear()
            self._aborted_s = self._again_s = -math.inf
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                return self._apart_is_done(deadline_s) and self._go_on(settlement, positions, group, deadline_s)
            except Aborted as aborted:
                self._aborted(aborted)
                if not aborted.at_once:
                    return False
            if time.monotonic() >= deadline_s:
                return False

    def commit(self, positions: Mapping[Partition, Position], group: Group, timeout_s: float) -> bool:
        """In a transaction of its own, which waits for that of a settlement."""
        try:
            return self._commits(positions, group, time.monotonic() + timeout_s)
        except Aborted as aborted:
            self._aborted(aborted)
            return False

    def close(self) -> None:
        self._transactions.close(_CLOSE_S)
        self._claim.release()

    def _go_on(self, settlement: Settlement, positions: Positions, group: Group, deadline_s: float) -> bool:
        """One attempt, from where the last call left it."""
        transactions = self._transactions
        if transactions.phase not in _UNDER_WAY:
            if not transactions.ready(_left_s(deadline_s)):
                return False
            if self._committing and self._was_committed(group):
                return True
            owned = positions(settlement)
            if not self._begin(settlement.tickets, owned, group):
                return not owned
        if transactions.phase is Phase.OPEN:
            if not self._attempt.published(transactions, deadline_s):
                return False
            self._send_offsets(positions(settlement), group)
        if transactions.phase is Phase.SENDING and not self._offsets_taken(settlement, deadline_s):
            return False
        self._committing = True
        done = transactions.commit(_left_s(deadline_s))
        self._committing = not done
        return done

    def _commits(self, positions: Mapping[Partition, Position], group: Group, deadline_s: float) -> bool:
        sent = self._apart or {}
        if not self._apart_is_done(deadline_s):
            return False
        if positions.items() <= sent.items():
            return True
        if self._committing or self._transactions.phase in _UNDER_WAY:
            return False
        if not self._transactions.ready(_left_s(deadline_s)) or not self._begin((), positions, group):
            return False
        self._send_offsets(positions, group)
        self._apart = positions
        return self._apart_is_done(deadline_s)

    def _apart_is_done(self, deadline_s: float) -> bool:
        """Bring a transaction without outcomes to its end, if one is under way."""
        if self._apart is not None:
            if self._transactions.phase is Phase.SENDING and not self._offsets_taken(self._apart, deadline_s):
                return False
            if not self._transactions.commit(_left_s(deadline_s)):
                return False
            self._apart = None
        return True

    def _begin(self, tickets: Iterable[Ticket], owned: Mapping[Partition, Position], group: Group) -> bool:
        """Begin with what is still ours. False where nothing is, or not yet: the group takes us in again first."""
        if not owned or group.membership is None or self._refused.is_stale(group.membership):
            return False
        if time.monotonic() < self._again_s or (self._refused.is_silent and not self._is_heard(owned, group)):
            return False
        self._transactions.begin()
        self._attempt = self._attempt_at(tickets, owned)
        return True

    def _attempt_at(self, tickets: Iterable[Ticket], partitions: Collection[Partition]) -> Attempt:
        return Attempt(tickets, partitions, self._suspects, self._dead_letters)

    def _is_heard(self, partitions: Iterable[Partition], group: Group) -> bool:
        """Whether the group's coordinator answers again.

        Offsets that are sent to one that does not cost a producer each time: the call never comes back (seen in 2.16).
        """
        try:
            group.committed(partitions, _ASK_S)
        except KafkaException:
            return False
        self._refused.is_silent = False
        return True

    def _send_offsets(self, owned: Mapping[Partition, Position], group: Group) -> None:
        if owned.keys() != self._attempt.partitions:
            raise Aborted("a rebalance took partitions away", at_once=True)
        self._transactions.send_offsets(offsets_of(owned), group.membership)
        self._sent, self._membership = owned, group.membership

    def _offsets_taken(self, of: object, deadline_s: float) -> bool:
        """Whether the coordinator has the offsets. `of`: what they were sent for."""
        try:
            taken = self._transactions.offsets_taken(_left_s(deadline_s))
        except Aborted as aborted:
            self._refused.note(aborted, of, self._membership)
            raise
        if taken:
            self._refused.taken()
        return taken

    def _aborted(self, aborted: Aborted) -> None:
        self._transactions.give_up()
        if self._transactions.phase not in _UNDER_WAY:
            self._apart = None
        log.warning("kafka.transaction_aborted", why=str(aborted), next="do again what is still ours")
        if not aborted.at_once:
            self._again_s, self._aborted_s = self._aborted_s + _PAUSE_S, time.monotonic()

    def _was_committed(self, group: Group) -> bool:
        """Whether a commit that failed without an answer took place: its offsets say so, since it is all or nothing."""
        try:
            committed = group.committed(self._sent, _ASK_S)
        except KafkaException as error:
            raise Aborted(f"the group's offsets are unknown: {error.args[0].str()}") from error
        self._committing = False
        return all(is_reached(committed.get(each), position) for each, position in self._sent.items())


def _left_s(deadline_s: float) -> float:
    return max(0.0, deadline_s - time.monotonic())
