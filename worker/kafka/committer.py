"""Commits with a time limit, on the one thread that polls.

librdkafka's synchronous commit has no time limit: while the broker is away it blocks (seen in 2.16). Nor can another
thread make it: confluent-kafka 2.16 keeps each call of another thread waiting while a poll is under way, with the
rebalance callback that runs in it (its pull request 2322), so a drain in a callback would never commit; and it keeps
the poll waiting while the commit is unanswered.

So a commit is sent without waiting, and then the group is asked what it holds, which has a time limit. What the broker
refuses is heard of in a later poll.

The group may hold a commit of which no answer came, since the connection broke before it. librdkafka sends that one
again, and behind a later commit it would move the offset back (seen in chaos): so the later one waits for its answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

import structlog
from confluent_kafka import KafkaError, KafkaException

from worker.errors import Fatal
from worker.kafka.ledger import Partition, Position
from worker.kafka.progress import Progress, parse

log = structlog.get_logger(__name__)

_LOOK_AGAIN_S = 0.005

_AGAIN = {
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._TRANSPORT,
    KafkaError._WAIT_COORD,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._ASSIGNMENT_LOST,
    KafkaError._NO_OFFSET,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.FENCED_MEMBER_EPOCH,
}

_HINTS = {
    KafkaError.GROUP_AUTHORIZATION_FAILED: "ask for READ on the group",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "ask for READ on the input topic",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "the input topic was deleted: create it again, or see kafka.topics.input",
    KafkaError.OFFSET_METADATA_TOO_LARGE: "raise the brokers' offset.metadata.max.bytes to 4096",
}

UNKNOWN_S = 20.0
"""How long the coordinator may not know a partition: a new one it does not know for a moment."""

Send = Callable[[Mapping[Partition, Position]], None]
Held = Callable[[Iterable[Partition], float], Mapping[Partition, Position]]


class Committer:
    """Brings one commit at a time to its end. Used by the Kafka thread alone."""

    def __init__(self, send: Send, held: Held) -> None:
        """`send` returns at once; `held` asks what the group holds, within a time limit, and may raise KafkaException.

        Both may be called inside a rebalance callback.
        """
        self._send = send
        self._held = held
        self._sent: Mapping[Partition, Position] = {}
        self._furthest: dict[Partition, int] = {}
        """The highest offset that was ever sent of a partition."""
        self.unanswered = 0
        """Commits that were sent and neither taken nor refused yet, as far as was heard."""
        self.is_overdue = False
        """Whether there are such after a poll, which has told all answers that had come."""
        self._unknown_s: float | None = None
        """Since when the coordinator does not know a partition."""

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float) -> bool:
        """Whether the group holds all of the positions, or is beyond. False when time is up: the next call goes on.

        What is under way is not sent again, lest many an old commit arrives when the broker is back. After a rebalance
        fewer positions are asked for than were sent, and after a standstill lower ones: what is read again then may
        have been committed by an answer that comes late, and is not moved back.
        """
        if not positions:
            self._unknown_s = None  # what it is about may be someone else's by now
            return True
        deadline_s = time.monotonic() + timeout_s
        is_under_way = self.unanswered and positions.items() <= self._sent.items()
        return (is_under_way or self._sends(positions, deadline_s)) and self._holds(positions, deadline_s)

    def _sends(self, positions: Mapping[Partition, Position], deadline_s: float) -> bool:
        """Send what the group does not hold. False where that is not known, or an earlier one must be answered first.

        Within a callback no answer is heard, nor waited for.
        """
        lower = any(self._furthest.get(each, 0) > position.offset for each, position in positions.items())
        missing = self._missing(positions, deadline_s) if lower else positions
        if missing is None or (missing and (self.is_overdue or (lower and self.unanswered))):
            return False
        self._sent = dict(positions)
        for partition, position in missing.items():
            self._furthest[partition] = max(position.offset, self._furthest.get(partition, 0))
        if missing:
            self.unanswered += 1
            self._send(missing)
        return True

    def _holds(self, positions: Mapping[Partition, Position], deadline_s: float) -> bool:
        """Whether the group holds them in time."""
        while self._missing(positions, deadline_s) != {}:
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(_LOOK_AGAIN_S)
        return True

    def answered(self, refusal: KafkaError | None = None) -> None:
        """Note that a commit was taken, or why it was not. Raises Fatal where it never will be."""
        self.unanswered -= 1
        self.is_overdue = self.is_overdue and self.unanswered > 0
        self._note_unknown(refusal)
        if refusal is None:
            return
        # Of a client that is over a poll says why.
        if not (self._unknown_s is not None or goes_again(refusal) or refusal.code() == KafkaError._FATAL):
            raise never_committed(refusal)
        log.warning("kafka.commit_refused", error=refusal.str(), code=refusal.name(), next="poll and try again")

    def _note_unknown(self, refusal: KafkaError | None) -> None:
        """Raises Fatal where a partition was not known for too long."""
        if refusal is None or refusal.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            self._unknown_s = None
            return
        now_s = time.monotonic()
        self._unknown_s = self._unknown_s or now_s
        if now_s - self._unknown_s >= UNKNOWN_S:
            raise never_committed(refusal)

    def polled(self) -> None:
        """Note that a poll went by."""
        self.is_overdue = self.unanswered > 0

    def _missing(
        self, positions: Mapping[Partition, Position], deadline_s: float
    ) -> Mapping[Partition, Position] | None:
        """Those that the group does not hold yet; None where it does not say."""
        try:
            held = self._held(positions, max(_LOOK_AGAIN_S, deadline_s - time.monotonic()))
        except KafkaException:
            return None
        return {each: position for each, position in positions.items() if not is_reached(held.get(each), position)}


def is_reached(committed: Position | None, sent: Position) -> bool:
    """Whether what is committed is what was sent, or beyond it.

    Beyond it may be the same offset: whoever has the partition by now may have done more of what comes after it.
    """
    if committed is None or committed.offset < sent.offset:
        return False
    if committed.offset > sent.offset or committed.metadata == sent.metadata:
        return True
    try:
        return _progress(committed).includes(_progress(sent))
    except ValueError:
        # Another release's: what it says is done nobody here can tell.
        return False


def _progress(position: Position) -> Progress:
    return parse(position.offset, position.metadata)


def never_committed(error: KafkaError) -> Fatal:
    """The end of the worker: a commit was refused for good."""
    hint = _HINTS.get(error.code(), "see the log of the group's coordinator")
    return Fatal(f"Kafka refused to commit offsets: {error.str()} ({error.name()}): {hint}; nothing was lost")


def goes_again(error: KafkaError) -> bool:
    """Whether a commit that is refused so is tried again after a poll, in which the rebalance behind it takes place."""
    return error.code() in _AGAIN or error.retriable()
