"""How librdkafka's clients are opened, and what they report beside their calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import structlog
from confluent_kafka import KafkaError, KafkaException, ThrottleEvent

from worker.errors import ConfigurationError

Client = TypeVar("Client")

log = structlog.get_logger(__name__)

_SILENCE_S = 30.0
_LATE_S = 3.0
"""How long after a throttle's end an answer may take that waited for it."""


def open_client(
    kind: Callable[[dict[str, Any]], Client],
    properties: Mapping[str, Any],
    errors: ClientErrors,
    throttle: Throttle | None = None,
) -> Client:
    """A client of the cluster. ConfigurationError where librdkafka or its binding does not take a property."""
    callbacks = {"error_cb": errors, **({"throttle_cb": throttle} if throttle else {})}
    try:
        return kind({**properties, **callbacks})
    except (KafkaException, TypeError, ValueError) as error:
        problem = error.args[0].str() if isinstance(error, KafkaException) else error
        raise ConfigurationError(f"kafka.properties: {problem}: see librdkafka's CONFIGURATION.md") from error


class ClientErrors:
    """An `error_cb` for connections refused, brokers down, handshakes that fail.

    Such an error is repeated many times a second while it lasts. It is logged once in half a minute, and the newest is
    kept for whoever has to explain why nothing answers. Never raises: librdkafka's binding would throw fetched messages
    away.
    """

    def __init__(self, client: str) -> None:
        self._client = client
        self._logged_s: dict[int, float] = {}
        self.newest = ""

    def __call__(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN or not self.newest:
            self.newest = error.str()
        now_s = time.monotonic()
        if now_s - self._logged_s.get(error.code(), -_SILENCE_S) >= _SILENCE_S:
            self._logged_s[error.code()] = now_s
            log.warning("kafka.client_error", client=self._client, error=error.str(), code=error.name())


class Disconnects:
    """A `logger` for a client: whether one of its connections broke, which librdkafka tells in its log alone.

    It is heard of in polls and flushes, of each broker at least once (seen in 2.16). Never raises, like ClientErrors.
    """

    def __init__(self) -> None:
        self.heard_of = False

    def log(self, _level: int, _format: str, facility: str, client: str, text: str) -> None:
        log.debug("kafka.client_log", client=client, facility=facility, text=text)
        self.heard_of = self.heard_of or (facility == "FAIL" and "in state UP" in text)


class Throttle:
    """A `throttle_cb`: by a quota, a broker lets a client's next answers wait. Never raises, like ClientErrors.

    A broker that throttles has taken what was sent, so it is there: that is no outage.
    """

    def __init__(self, client: str) -> None:
        self._client = client
        self._until_s = 0.0
        self._logged_s = -_SILENCE_S

    @property
    def on(self) -> bool:
        """Whether an answer that does not come may be waiting for this."""
        return time.monotonic() < self._until_s + _LATE_S

    def __call__(self, event: ThrottleEvent) -> None:
        now_s = time.monotonic()
        self._until_s = max(self._until_s, now_s + event.throttle_time)
        if now_s - self._logged_s >= _SILENCE_S:
            self._logged_s = now_s
            log.warning(
                "kafka.throttled", client=self._client, seconds=event.throttle_time, next="raise its quota, or wait"
            )


def error_in(exception: KafkaException | SystemError) -> KafkaError | None:
    """What went wrong. A fatal error is raised in a callback, and the next callback of the same call trips over it.

    None where it was lost on the way, as was seen of `flush` ("returned NULL without setting an exception").
    """
    cause = exception.__cause__ if isinstance(exception, SystemError) else exception
    return cause.args[0] if isinstance(cause, KafkaException) else None
