"""Offsets that a group's coordinator refuses within a transaction: again, in the next generation, or never again.

What the coordinator says of them is the same as of a commit outside of one (committer.py).
"""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import KafkaError

from worker.errors import Fatal
from worker.kafka.committer import UNKNOWN_S, never_committed
from worker.kafka.properties import patience_s
from worker.kafka.settings import KafkaSettings
from worker.kafka.transactions import Aborted

_STALE_S = 60.0
"""How long a generation may be refused without a rebalance that brings the next one, at least."""
_SESSIONS = 3
"""So many of a classic group's members may die one after the other, each in the middle of a rebalance."""
_HINTS = {
    "classic": "members that died or do not poll may hold it up: look at the group's others, and start this one again",
    "consumer": "brokers before 4.3 do so with kafka.group_protocol consumer: set it to classic",
}

_STALE = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.FENCED_MEMBER_EPOCH,
}
_FOR_GOOD = {KafkaError.OFFSET_METADATA_TOO_LARGE, KafkaError.INVALID_COMMIT_OFFSET_SIZE}


class RefusedOffsets:
    """What was refused, and since when. Used by the Kafka thread alone."""

    def __init__(self, settings: KafkaSettings) -> None:
        sessions = _SESSIONS if settings.group_protocol == "classic" else 0
        self._stale_after_s = max(_STALE_S, sessions * patience_s(settings))
        self._hint = _HINTS[settings.group_protocol]
        self._stale: Any = None
        """A membership that the coordinator did not know any more."""
        self._stale_s: float | None = None
        """Since when a transaction could begin, were it for that: not while the brokers are away."""
        self._unknown: tuple[Any, float] | None = None
        """What was sent of a partition that it does not know, and since when."""
        self.is_silent = False
        """Whether the coordinator said nothing to them."""

    def note(self, aborted: Aborted, sent_for: object, membership: Any) -> None:
        """Note why these offsets, sent with this membership, were not taken. Raises Fatal where they never will be."""
        if aborted.code in _STALE and membership is not self._stale:
            self._stale, self._stale_s = membership, None
        self.is_silent = aborted.code == KafkaError._TIMED_OUT
        self._note_unknown(aborted.code == KafkaError.UNKNOWN_TOPIC_OR_PART, sent_for)
        is_gone = self._unknown is not None and time.monotonic() - self._unknown[1] >= UNKNOWN_S
        if aborted.code is not None and (is_gone or aborted.code in _FOR_GOOD):
            raise never_committed(KafkaError(aborted.code)) from aborted

    def taken(self) -> None:
        """Note that offsets were taken."""
        self._stale = self._stale_s = self._unknown = None
        self.is_silent = False

    def is_stale(self, membership: Any) -> bool:
        """Whether this very membership was refused: the next one comes in a rebalance, which runs inside a poll.

        Asked when a transaction could begin.
        """
        if self._stale is None or self._stale is not membership:
            return False
        now_s = time.monotonic()
        self._stale_s = self._stale_s or now_s
        if now_s - self._stale_s >= self._stale_after_s:
            raise Fatal(
                f"Kafka has refused this member's offsets for {self._stale_after_s:.0f} s and no rebalance came: "
                f"{self._hint}; nothing was lost"
            )
        return True

    def _note_unknown(self, is_unknown: bool, sent_for: object) -> None:
        if not is_unknown:
            self._unknown = None
        elif self._unknown is None or self._unknown[0] is not sent_for:
            self._unknown = (sent_for, time.monotonic())
