"""Dead letters: the record as it came, and headers that say where it failed and why.

Key, value, headers and timestamp stay untouched, so that a dead letter can be produced again as it is. What is added is
in Kafka Connect's vocabulary (KIP-298), which dead-letter tools know, and `image-worker.*` for what Connect has no word
for. A header that is there already, from an earlier round, is replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from worker.errors import Reason, Rejected, Stage
from worker.records import Head, Headers, Outcome, OutgoingRecord, SourceRecord, outcome_id

OUTCOME_ID = "image-worker.outcome.id"
FINGERPRINT = "image-worker.model.fingerprint"
REASON = "image-worker.reason"
VERDICT = "image-worker.verdict"
"""Says `unscannable` where the image cannot be decoded: for moderation that is a finding, and not "harmless"."""
VALUE_OMITTED = "image-worker.value.omitted.bytes"
CONNECT = "__connect.errors."
_OURS = (CONNECT, "image-worker.", VERDICT)
_LARGEST_KEY = 10_000


class DeadLetters:
    """Makes the dead letters of one topic. `head` gives the model's labels and identity as they are now."""

    def __init__(self, topic: str, head: Callable[[], Head]) -> None:
        self._topic = topic
        self._head = head

    def make(self, record: SourceRecord, rejected: Rejected) -> Outcome:
        """The dead letter of a record that was rejected."""
        return self._outcome(record, rejected, record.key, record.value, _foreign(record.headers))

    def without_value(self, record: SourceRecord) -> Outcome:
        """The dead letter of a record whose outcome the broker refused for its size: what it carried is left out.

        The headers say where the record is; it can be read from there.
        """
        size = len(record.value or b"")
        rejected = Rejected(
            Reason.OUTCOME_TOO_LARGE,
            f"the outcome is larger than the topic allows; the value of {size} bytes is omitted",
        )
        key = record.key if len(record.key or b"") <= _LARGEST_KEY else None
        return self._outcome(record, rejected, key, b"", ((VALUE_OMITTED, str(size).encode()),))

    def without_timestamp(self, record: SourceRecord, why: str) -> Outcome:
        """The dead letter of a record whose outcome the broker refused for what it is, at the time of publication."""
        undated = replace(record, timestamp_ms=-1)
        return self.make(undated, Rejected(Reason.OUTCOME_REFUSED, why))

    def _outcome(
        self, record: SourceRecord, rejected: Rejected, key: bytes | None, value: bytes | None, headers: Headers
    ) -> Outcome:
        timestamp_ms = record.timestamp_ms if record.timestamp_ms >= 0 else None
        added = headers + self._added(record, rejected)
        outgoing = OutgoingRecord(self._topic, key, value, added, timestamp_ms)
        return Outcome("dead_letter", outgoing, str(rejected.reason), rejected.detail)

    def _added(self, record: SourceRecord, rejected: Rejected) -> Headers:
        where, fingerprint = record.coordinates, self._head().identity.fingerprint
        texts = {
            CONNECT + "topic": where.topic,
            CONNECT + "partition": str(where.partition),
            CONNECT + "offset": str(where.offset),
            CONNECT + "stage": str(rejected.reason.stage),
            CONNECT + "exception.class.name": f"{type(rejected).__module__}.{type(rejected).__qualname__}",
            CONNECT + "exception.message": str(rejected),
            REASON: str(rejected.reason),
            OUTCOME_ID: outcome_id(where, fingerprint),
            FINGERPRINT: fingerprint,
        }
        if rejected.reason.stage is Stage.DECODE:
            texts[VERDICT] = "unscannable"
        # What a backend says may hold what UTF-8 cannot, such as half of a surrogate pair.
        return tuple((name, text.encode(errors="backslashreplace")) for name, text in texts.items())


def _foreign(headers: Headers) -> Headers:
    """The headers that an earlier round of ours did not add."""
    return tuple((name, value) for name, value in headers if not name.startswith(_OURS))
