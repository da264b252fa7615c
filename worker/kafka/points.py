"""Points in a topic as an operator names them: one of its ends, an offset, or a time."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from worker.errors import ConfigurationError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO_8601 = re.compile(r"(\d{4}-\d\d-\d\d|\d{8}|\d{4}-?W\d\d-?\d)([T ].+)?")
"""Python takes any character between date and time: it would read the zone of `2026-01-31+02:00` as a time."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point in each partition: at one of its ends, at an offset, or at the first record of a time."""

    end: bool = False
    offset: int | None = None
    time_ms: int | None = None

    @property
    def utc(self) -> str | None:
        """A time as it is understood; None of what is none."""
        if self.time_ms is None:
            return None
        return (_EPOCH + timedelta(milliseconds=self.time_ms)).isoformat().replace("+00:00", "Z")

    @property
    def is_yet_to_come(self) -> bool:
        return self.time_ms is not None and self.time_ms > 1000 * time.time()


def parse_point(option: str, text: str, *, end: str = "end") -> Point:
    """`beginning`, the word for the end, an offset, or a time in ISO 8601 (UTC where it names no zone).

    Raises ConfigurationError, naming the option.
    """
    if text in ("beginning", end):
        return Point(end=text == end)
    if text.isdecimal():
        return Point(offset=int(text))
    try:
        found = datetime.fromisoformat(text) if _ISO_8601.fullmatch(text) else None
    except ValueError:
        found = None
    if found is None:
        raise ConfigurationError(
            f"{option} {text}: write beginning, {end}, an offset, or a time such as 2026-01-31T12:00:00Z"
        )
    return Point(time_ms=_ms(found if found.tzinfo else found.replace(tzinfo=UTC)))


def _ms(when: datetime) -> int:
    """The first millisecond that is not before a time. None is before 1970: to a broker, those mean other things."""
    return max(0, -((_EPOCH - when) // timedelta(milliseconds=1)))
