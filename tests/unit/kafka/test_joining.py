"""A group that assigns nothing: what the log says of it, and how often."""

from __future__ import annotations

from concurrent.futures import wait

import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.typing import EventDict

from tests.clusters import PATIENCE_S
from tests.unit.kafka.test_member import NOWHERE
from worker.kafka import reminder as room
from worker.kafka.joining import Joining
from worker.kafka.settings import KafkaSettings
from worker.kafka.starts import Starts
from worker.kafka.topic_id import TopicWatch


def no_answer() -> None:
    raise KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))


@pytest.mark.parametrize(
    ("ask", "why"),
    [(no_answer, "does not answer: Broker: Not coordinator"), (lambda: None, "answers: other members")],
)
def test_why_nothing_is_assigned_is_said_every_half_minute(
    logs: list[EventDict], monkeypatch: pytest.MonkeyPatch, ask: object, why: str
) -> None:
    now_s = [100.0]
    monkeypatch.setattr(room.time, "monotonic", lambda: now_s[0])
    joining = Joining(ask)  # type: ignore[arg-type]
    for times in (1, 2):
        now_s[0] += 29
        joining.look()
        assert joining._answer is None
        now_s[0] += 1
        joining.look()
        asked = joining._answer
        assert asked is not None
        wait([asked], PATIENCE_S)
        joining.look()
        said = [line for line in logs if line["event"] == "kafka.nothing_assigned"]
        assert [line["seconds"] for line in said] == [30, 60][:times]
        assert why in said[-1]["why"]


def test_a_coordinator_that_cannot_be_reached_is_an_error_within_seconds() -> None:
    settings = KafkaSettings(bootstrap_servers=NOWHERE)
    room_of_starts = Starts(settings, None, lambda *_: True, TopicWatch(settings))  # type: ignore[arg-type]
    with pytest.raises(KafkaException):
        room_of_starts.reach()
