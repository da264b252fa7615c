"""What a group's coordinator is asked by an AdminClient, which has to survive that it moves or is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from worker.kafka.clients import ClientErrors, open_client
from worker.kafka.properties import client_properties
from worker.kafka.settings import KafkaSettings

T = TypeVar("T")

ENDLESS_S = 3600.0
"""The time to give to each request; see Coordinator."""
ANSWER_S = 10.0
"""How long to wait for a request's answer."""


class Coordinator:
    """The coordinator of a group, whichever broker that is.

    librdkafka 2.16 has two faults here, for which a client that got no answer, or the wrong broker's, is given up
    together with its requests. It never forgets the broker that it was told of, and asks that one on and on when it is
    the coordinator no more. And when a request's own time has run out while no coordinator could be reached, it ends
    the process as soon as one can ("Assertion `eonce->refcnt > 0' failed"): so requests get time without end.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._errors = ClientErrors("admin")
        self._admin = self._open()

    def ask(self, call: Callable[[AdminClient], T]) -> T:
        """What the call returns, which gives its request ENDLESS_S and waits for ANSWER_S. Raises KafkaException."""
        try:
            return call(self._admin)
        except TimeoutError as error:
            self._admin = self._open()
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error
        except KafkaException as error:
            if error.args[0].code() == KafkaError.NOT_COORDINATOR:
                self._admin = self._open()
            raise

    def _open(self) -> AdminClient:
        return open_client(AdminClient, client_properties(self._settings), self._errors)
