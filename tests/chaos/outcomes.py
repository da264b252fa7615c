"""An outcome as it lies in an output topic, be it a classification or a dead letter. Shares no code with the worker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Message

from tests.chaos.books import NOWHERE, Found, Place
from tests.chaos.events import event_of

_WHERE = "__connect.errors."
_ID = "image-worker.outcome.id"
_REASON = "image-worker.reason"


def found(message: Message) -> Found:
    """What it says. What says of no event that it is its outcome, is one of `NOWHERE`."""
    given: Any = message.headers() or []
    headers = {name: (value or b"").decode(errors="replace") for name, value in given}
    lane = (message.topic() or "", message.partition() or 0)
    told = headers.get(_ID, ""), lane, message.offset() or 0, message.timestamp()[1]
    value = message.value() or b""
    if _WHERE + "offset" in headers:
        reason = headers.get(_REASON) or "none"
        return Found(_named(headers), *told, reason, event_of(value).id)
    try:
        fields = json.loads(value)
        event = int(fields["source"]["partition"]), int(fields["source"]["offset"])
        best = fields["scores"][0]["label"] if fields["scores"] else None
        return Found(event, *told, names=fields["reference"]["id"], label=best)
    except (ValueError, LookupError, TypeError):
        return Found(NOWHERE, *told)


def _named(headers: Mapping[str, str]) -> Place:
    try:
        return int(headers[_WHERE + "partition"]), int(headers[_WHERE + "offset"])
    except (ValueError, LookupError):
        return NOWHERE
