"""A topic of outcomes that was deleted, on a clock that is set by hand."""

from __future__ import annotations

import pytest

from tests.unit.kafka.bench import Broker, FakeProducer
from worker.errors import Fatal
from worker.kafka.gone import GoneTopics
from worker.kafka.ledger import Ledger
from worker.kafka.progress import Progress
from worker.kafka.publisher import Publisher
from worker.kafka.settings import KafkaSettings
from worker.records import Coordinates, Outcome, OutgoingRecord, SourceRecord


def look(gone: GoneTopics, broker: Broker, now_s: float) -> None:
    """As a sink does that gives its producer up: each time it is another one."""
    ledger = Ledger()
    ledger.assign(("images", 0), Progress(0))
    ticket = ledger.open(SourceRecord(Coordinates("images", 0, 0), 0, None, b"", ()), now_s=0, size_bytes=0)
    assert ticket is not None
    ledger.finish(ticket, Outcome("classification", OutgoingRecord("results", None, b"", ())))
    gone.look([ticket], Publisher(FakeProducer(broker)), now_s)  # type: ignore[arg-type]


@pytest.mark.parametrize(("properties", "patience_s"), [({}, 30), ({"topic.metadata.propagation.max.ms": 5000}, 5)])
def test_it_stops_the_worker_when_the_brokers_have_said_so_for_long_enough(
    properties: dict[str, str | int | float | bool], patience_s: float
) -> None:
    broker, gone = Broker(), GoneTopics(KafkaSettings(producer_properties=properties))
    broker.gone = {"results"}
    look(gone, broker, 100.0)
    look(gone, broker, 99.9 + patience_s)
    with pytest.raises(Fatal, match=r"topic 'results': .*UNKNOWN_TOPIC_OR_PART.*: create the topic; its event is not"):
        look(gone, broker, 100.0 + patience_s)


def test_one_that_is_there_again_meanwhile_is_not_gone() -> None:
    broker, gone = Broker(), GoneTopics(KafkaSettings())
    for now_s, topics in ((0.0, {"results"}), (20.0, set[str]()), (40.0, {"results"}), (60.0, {"results"})):
        broker.gone = topics
        look(gone, broker, now_s)
    with pytest.raises(Fatal):  # counted from when it was gone again
        look(gone, broker, 70.0)
