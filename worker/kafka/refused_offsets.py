"""Offsets that a group's coordinator refuses within a transaction: again, in the next generation, or never again.

What the coordinator says of them is the same as of a commit outside of one (committer.py).
"""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import KafkaError

from worker.errors import Fatal
from worker.kafka.committer import never_committed
from worker.kafka.transactions import Aborted

_STALE_S = 60.0
"""How long a generation may be refused without a rebalance that brings the next one."""
_UNKNOWN_S = 20.0
"""How long the coordinator may not know a partition: a new one it does not know for a moment."""

_STALE = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.FENCED_MEMBER_EPOCH,
}
_FOR_GOOD = {KafkaError.OFFSET_METADATA_TOO_LARGE, KafkaError.INVALID_COMMIT_OFFSET_SIZE}


class RefusedOffsets:
    """What was refused, and since when. Used by the Kafka thread alone."""

    def __init__(self) -> None:
        self._stale: tuple[Any, float] | None = None
        """A membership that the coordinator did not know any more, and since when."""
        self._unknown: tuple[Any, float] | None = None
        """What was sent of a partition that it does not know, and since when."""

    def note(self, aborted: Aborted, sent_for: object, membership: Any) -> None:
        """Note why these offsets, sent with this membership, were not taken. Raises Fatal where they never will be."""
        if aborted.code in _STALE:
            self._stale = _since(self._stale, membership)
        is_unknown = aborted.code == KafkaError.UNKNOWN_TOPIC_OR_PART
        self._unknown = _since(self._unknown, sent_for) if is_unknown else None
        is_gone = self._unknown is not None and _age_s(self._unknown) >= _UNKNOWN_S
        if aborted.code is not None and (is_gone or aborted.code in _FOR_GOOD):
            raise never_committed(KafkaError(aborted.code)) from aborted

    def taken(self) -> None:
        """Note that offsets were taken."""
        self._stale = self._unknown = None

    def is_stale(self, membership: Any) -> bool:
        """Whether this very membership was refused: the next one comes in a rebalance, which runs inside a poll."""
        if self._stale is None or self._stale[0] is not membership:
            return False
        if _age_s(self._stale) >= _STALE_S:
            raise Fatal(
                f"Kafka has refused this member's offsets for {_STALE_S:.0f} s and no rebalance came: brokers before "
                "4.3 do so with kafka.group_protocol consumer: set it to classic; nothing was lost"
            )
        return True


def _since(known: tuple[Any, float] | None, what: Any) -> tuple[Any, float]:
    """Since it was refused first, unless that was another one."""
    return known if known is not None and known[0] is what else (what, time.monotonic())


def _age_s(known: tuple[Any, float]) -> float:
    return time.monotonic() - known[1]
