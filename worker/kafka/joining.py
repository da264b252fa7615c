"""Says why a group assigns nothing, at first or after a loss: a client that waits for its coordinator hears nothing.

It may wait for ever. Apache Kafka 4.3.1 was seen to be unable to load what it keeps of a group, after outages: it then
answers each of its clients that another broker was the coordinator.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import structlog
from confluent_kafka import KafkaException

from worker.kafka.aside import aside
from worker.kafka.reminder import Reminder

log = structlog.get_logger(__name__)


class Joining:
    """Looked at until something is assigned again, by the Kafka thread alone."""

    def __init__(self, ask: Callable[[], object]) -> None:
        """`ask`: asks the group's coordinator something, waits for the answer, and raises KafkaException for none."""
        self._ask = ask
        self._reminder = Reminder()
        self._answer: Future[object] | None = None

    def look(self) -> None:
        """Say it now and then. Waits for nothing."""
        if self._answer is not None and self._answer.done():
            self._say(self._answer)
            self._answer = None
        elif self._answer is None and self._reminder.due():
            self._answer = aside(self._ask, "joining")

    def _say(self, answer: Future[object]) -> None:
        try:
            answer.result()
            why = "the group's coordinator answers: other members may hold the rebalance up"
        except KafkaException as error:
            why = f"the group's coordinator does not answer: {error.args[0].str()}"
        log.warning(
            "kafka.nothing_assigned",
            seconds=self._reminder.seconds,
            why=why,
            next="wait: see the coordinator's log if it lasts",
        )
