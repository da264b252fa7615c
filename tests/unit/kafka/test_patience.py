"""Questions whose answer moves."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.typing import EventDict

from worker.kafka import patience as room
from worker.kafka.patience import patiently


class Answers:
    """Refuses with one error so many times, and answers then."""

    def __init__(self, code: int, times: int) -> None:
        self._error = KafkaException(KafkaError(code))
        self._left = times
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        if self.asked <= self._left:
            raise self._error
        return "here"


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_AGAIN_S", 0.001)


@pytest.mark.parametrize(
    "code",
    [KafkaError.OFFSET_NOT_AVAILABLE, KafkaError._NOENT, KafkaError.NOT_COORDINATOR, KafkaError._TRANSPORT],
)
def test_who_moves_or_is_away_is_asked_again(code: int, logs: list[EventDict]) -> None:
    answers = Answers(code, 3)
    assert patiently(answers, 60.0) == "here"
    assert answers.asked == 4
    assert logs == [], "it did not take long"


def test_a_refusal_is_final() -> None:
    answers = Answers(KafkaError.GROUP_AUTHORIZATION_FAILED, 1)
    with pytest.raises(KafkaException):
        patiently(answers, 60.0)
    assert answers.asked == 1


def test_when_time_is_up_the_last_error_is_raised() -> None:
    with pytest.raises(KafkaException, match="OFFSET_NOT_AVAILABLE"):
        patiently(Answers(KafkaError.OFFSET_NOT_AVAILABLE, 10_000), 0.02)


def test_a_wait_that_takes_long_is_said_once(monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]) -> None:
    monkeypatch.setattr(room, "_SILENCE_S", 0.002)
    assert patiently(Answers(KafkaError.COORDINATOR_LOAD_IN_PROGRESS, 9), 60.0) == "here"
    assert [(line["event"], line["next"]) for line in logs] == [("kafka.asks_again", "ask again for up to 60 s")]
