"""Leaving the group in bounded time.

A broker that is there answers a goodbye within milliseconds. librdkafka's `close` waits without a limit: for the answer
to a commit, and once it did not come back though none was under way (seen in 2.16, in chaos).
"""

from __future__ import annotations

from concurrent.futures import wait

import structlog
from confluent_kafka import Consumer

from worker.kafka.aside import aside

log = structlog.get_logger(__name__)

_GOODBYE_S = 5.0
_kept: list[Consumer] = []
"""Clients whose goodbye was not answered: kept, since freeing one of them would wait for it."""


def leave(consumer: Consumer) -> bool:
    """Whether the goodbye was answered. Runs the revoke callback for what is still assigned, on another thread."""
    goodbye = aside(consumer.close, "goodbye")
    if wait([goodbye], _GOODBYE_S).done:
        goodbye.result()
        return True
    log.error("kafka.goodbye_unanswered", next="leave without one: the group notices when the session is over")
    _kept.append(consumer)
    return False
