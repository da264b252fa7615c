"""librdkafka's in-process cluster, for the demo and the fast tests.

It serves groups of both protocols and commits. It loses offsets sent with a transaction, knows no offsets by time, and
creates a topic of 4 partitions when it is first asked for.
"""

from __future__ import annotations

from types import TracebackType

from confluent_kafka import Producer


class EmbeddedKafka:
    """A cluster that lives as long as this object. `with EmbeddedKafka() as kafka: kafka.bootstrap_servers`."""

    def __init__(self, brokers: int = 1) -> None:
        self._count = brokers
        self._owner: Producer | None = None
        self.bootstrap_servers = ""

    def __enter__(self) -> EmbeddedKafka:
        self._owner = Producer({"test.mock.num.brokers": self._count, "log_level": 0})
        brokers = self._owner.list_topics(timeout=10).brokers.values()
        self.bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        return self

    def create(self, *topics: str) -> None:
        """Have topics exist before the first record."""
        assert self._owner is not None
        for topic in topics:
            self._owner.list_topics(topic, timeout=10)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owner = None
