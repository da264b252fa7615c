"""Points in a topic as an operator names them: one of its ends, an offset, or a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from worker.errors import ConfigurationError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Point:
    """A point in each partition: at one of its ends, at an offset, or at the first record of a time."""

    end: bool = False
    offset: int | None = None
    time_ms: int | None = None


def parse_point(option: str, text: str, *, end: str = "end") -> Point:
    """`beginning`, the word for the end, an offset, or a time in ISO 8601 (UTC where it names no zone).

    Raises ConfigurationError, naming the option.
    """
    if text in ("beginning", end):
        return Point(end=text == end)
    if text.isdecimal():
        return Point(offset=int(text))
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"{option} {text}: write beginning, {end}, an offset, or a time such as 2026-01-31T12:00:00Z"
        ) from None
    return Point(time_ms=_ms(time if time.tzinfo else time.replace(tzinfo=UTC)))


def _ms(time: datetime) -> int:
    """The first millisecond that is not before a time. None is before 1970: to a broker, those mean other things."""
    return max(0, -((_EPOCH - time) // timedelta(milliseconds=1)))
