"""What an event asks for, and what may come of it. PURE, and it knows nothing of the worker."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_LABELS = "aaaabbbbccccdddd"
"""Of each picture of the hosts, by its number, what the free model says: a quarter of the greys is a label."""
_PICTURE = re.compile(r"http://127\.0\.([01])\.\d+:\d+/(\d+)\.jpg")
_MISSING = re.compile(r"http://127\.0\.0\.\d+:\d+/missing")

_TROUBLE = frozenset({"fetch_timeout", "host_unavailable", "connection_failed", "decode_timeout"})
"""Reasons of the network and of the time, which on a machine that is overrun may befall any image."""
_FAILS = _TROUBLE | {"http_server_error"}
_IS_NOT_THERE = _TROUBLE | {"http_client_error"}
_FORBIDDEN = frozenset({"forbidden_address"})
_NO_EVENT = frozenset({"unrecognised_value"})


@dataclass(frozen=True, slots=True)
class Event:
    """An event that was read."""

    id: str | None
    label: str | None
    """What its image is to be called; None where it has none, and must end as a dead letter."""
    reasons: frozenset[str]
    """Those for which it may end as a dead letter."""
    is_fickle: bool = False
    """Whether an attempt may end as a dead letter and the next as a classification: its image's host fails at times."""

    @property
    def is_sound(self) -> bool:
        """Whether its image is there, on a host that does not fail."""
        return self.label is not None and not self.is_fickle


def event_of(value: bytes) -> Event:
    """What a record of the input topic asks for. See `SteadyProducer` for what there is."""
    try:
        fields = json.loads(value)
        id_, url = fields["id"], fields["url"]
    except (ValueError, LookupError, TypeError):
        return Event(None, None, _NO_EVENT)
    if (picture := _PICTURE.fullmatch(url)) is not None:
        fickle = picture[1] == "1"
        return Event(id_, _LABELS[int(picture[2])], _FAILS if fickle else _TROUBLE, fickle)
    return Event(id_, None, _IS_NOT_THERE if _MISSING.fullmatch(url) else _FORBIDDEN)
