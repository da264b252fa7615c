"""Events out: what is published for an image that was classified, and for a tombstone. Used on the event loop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any

import fastavro
import numpy as np
import numpy.typing as npt

from worker.errors import Rejected
from worker.kafka.deadletter import FINGERPRINT, OUTCOME_ID
from worker.kafka.registry import Registry, framed
from worker.kafka.schemas import CLASSIFICATION, latest
from worker.kafka.settings import EventsSettings, TopicsSettings
from worker.records import (
    Decision,
    Head,
    ImageReference,
    ModelIdentity,
    Outcome,
    OutgoingRecord,
    Pixels,
    Prediction,
    SourceRecord,
    outcome_id,
)

Encoder = Callable[[dict[str, Any]], bytes]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds a record spent in the stages before the model."""

    event_s: float
    fetch_s: float
    decode_s: float


class Classifications:
    """Makes the classification events of one model. `head` gives its labels and identity as they are now."""

    def __init__(
        self, topics: TopicsSettings, settings: EventsSettings, head: Callable[[], Head], encode: Encoder
    ) -> None:
        self._results = topics.results
        self._top_k = settings.top_k
        self._head = head
        self._encode = encode

    def make(
        self,
        record: SourceRecord,
        reference: ImageReference,
        pixels: Pixels,
        prediction: Prediction,
        decision: Decision,
        timing: Timing,
        topic: str | None,
    ) -> Outcome:
        """The classification of a record, for the topic of its action, or else the results."""
        found = {
            "image": _image(pixels),
            "scores": best(prediction.head.labels, prediction.scores, self._top_k),
            "timing": _timing(timing, prediction),
            "unscannable": None,
        }
        outgoing = self._outgoing(record, reference, prediction.head.identity, decision, found, topic)
        return Outcome("classification", outgoing, action=decision.action)

    def unscannable(
        self,
        record: SourceRecord,
        reference: ImageReference,
        rejected: Rejected,
        decision: Decision,
        timing: Timing,
        topic: str | None,
    ) -> Outcome:
        """The event for an image that cannot be decoded, where the policy has an action for that."""
        found = {
            "image": {"sha256": rejected.sha256 or "", "format": "", "width": 0, "height": 0, "frames": 0},
            "scores": [],
            "timing": _timing(timing, None),
            "unscannable": {"reason": str(rejected.reason), "detail": rejected.detail},
        }
        outgoing = self._outgoing(record, reference, self._head().identity, decision, found, topic)
        return Outcome("unscannable", outgoing, str(rejected.reason), rejected.detail, decision.action)

    def _outgoing(
        self,
        record: SourceRecord,
        reference: ImageReference,
        model: ModelIdentity,
        decision: Decision,
        found: dict[str, Any],
        topic: str | None,
    ) -> OutgoingRecord:
        identity = outcome_id(record.coordinates, model.fingerprint)
        event = found | {
            "outcome_id": identity,
            "source": _source(record),
            "reference": {"url": shown(reference.address), "id": reference.id},
            "model": _model(model),
            "decision": asdict(decision),
            "classified_at_ms": time.time_ns() // 1_000_000,
        }
        headers = (*record.headers, (OUTCOME_ID, identity.encode()))
        return OutgoingRecord(topic or self._results, record.key, self._encode(event), headers)

    def tombstone(self, record: SourceRecord) -> Outcome:
        """A tombstone is passed on as a tombstone: it deletes the result of its key in a compacted topic."""
        fingerprint = self._head().identity.fingerprint
        identity = outcome_id(record.coordinates, fingerprint)
        headers = (*record.headers, (OUTCOME_ID, identity.encode()), (FINGERPRINT, fingerprint.encode()))
        return Outcome("tombstone", OutgoingRecord(self._results, record.key, None, headers))


def best(labels: Sequence[str], scores: npt.NDArray[np.float32], count: int) -> list[dict[str, Any]]:
    """The best labels and their scores, best first; ties in the order of the labels."""
    order = np.argsort(-scores, kind="stable")[:count]
    return [{"label": labels[index], "score": float(scores[index])} for index in order]


def shown(address: str | None) -> str | None:
    """An address as it is published: of a data: address, which may hold megabytes, only what is before its comma."""
    if address is not None and address[:5].lower() == "data:":
        return address.partition(",")[0][:200]
    return address


async def encoder(settings: EventsSettings, topic: str, registry: Registry | None) -> Encoder:
    """How classification events become bytes: JSON, single-object Avro, or Avro framed with the registry's id."""
    if settings.output_encoding == "json":
        return lambda event: json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    schema = latest(CLASSIFICATION)
    prefix = schema.mark
    if registry is not None:
        subject = f"{topic}-value"
        find = registry.register if settings.register_schemas else registry.id_of
        prefix = framed(await find(subject, schema))

    def encode(event: dict[str, Any]) -> bytes:
        stream = BytesIO()
        stream.write(prefix)
        fastavro.schemaless_writer(stream, schema.parsed, event)
        return stream.getvalue()

    return encode


@lru_cache(maxsize=4)
def _model(identity: ModelIdentity) -> dict[str, str]:
    return asdict(identity)


def _source(record: SourceRecord) -> dict[str, Any]:
    where = record.coordinates
    return {
        "topic": where.topic,
        "partition": where.partition,
        "offset": where.offset,
        "timestamp_ms": record.timestamp_ms,
    }


def _image(pixels: Pixels) -> dict[str, Any]:
    return {
        "sha256": pixels.sha256,
        "format": pixels.format,
        "width": pixels.width,
        "height": pixels.height,
        "frames": pixels.frame_count,
    }


def _timing(timing: Timing, prediction: Prediction | None) -> dict[str, Any]:
    return {
        "event_ms": timing.event_s * 1000,
        "fetch_ms": timing.fetch_s * 1000,
        "decode_ms": timing.decode_s * 1000,
        "wait_ms": prediction.wait_s * 1000 if prediction else 0.0,
        "compute_ms": prediction.compute_s * 1000 if prediction else 0.0,
        "batch_size": prediction.batch_size if prediction else 0,
    }
