"""For how long a partition cannot be fetched, and what is said of it. The client's messages are fakes."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message

from tests.unit.kafka.desk import Desk
from worker.kafka import failing as room
from worker.kafka.failing import Failing, place
from worker.kafka.progress import Progress

A, B = ("images", 0), ("images", 1)


def error_of(topic: str | None, number: int | None, offset: int | None = None) -> Any:
    return SimpleNamespace(topic=lambda: topic, partition=lambda: number, offset=lambda: offset)


def record(number: int) -> Message:
    return Message(topic="images", partition=number, offset=5, value=b"")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now_s = [1000.0]
    monkeypatch.setattr(room, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    return now_s


def test_an_error_that_is_said_again_and_again_lasts_from_the_first_time(clock: list[float]) -> None:
    failing = Failing()
    for _ in range(5):
        failing.note(error_of(*A))
        clock[0] += 30
    assert failing.seconds(A, clock[0]) == 150
    assert failing.seconds(B, clock[0]) == 0


def test_one_that_was_not_said_for_a_minute_has_passed_and_another_one_is_new(clock: list[float]) -> None:
    failing = Failing()
    failing.note(error_of(*A))
    clock[0] += 60
    assert failing.seconds(A, clock[0]) == 0
    failing.note(error_of(*A))
    clock[0] += 1
    assert failing.seconds(A, clock[0]) == 1


def test_what_nothing_more_is_said_of_lasts_where_it_is_known_to(clock: list[float]) -> None:
    failing = Failing()
    failing.note(error_of(*A))
    failing.note(error_of(*B))
    for _ in range(5):
        clock[0] += 30
        failing.lasts([A])
    assert failing.seconds(A, clock[0]) == 150
    assert failing.seconds(B, clock[0]) == 0


def test_a_record_of_the_partition_ends_it_and_one_of_another_does_not(clock: list[float]) -> None:
    failing = Failing()
    failing.note(error_of(*A))
    clock[0] += 10
    failing.clear(record(1))
    assert failing.seconds(A, clock[0]) == 10
    failing.clear(record(0))
    assert failing.seconds(A, clock[0]) == 0


@pytest.mark.parametrize("error", [error_of(None, None), error_of("images", -1), error_of(None, 0)])
def test_what_is_of_no_partition_is_nobodys(error: Any) -> None:
    failing = Failing()
    failing.note(error)
    assert not failing._since_s
    assert place(error) is None


def test_where_it_is_is_told_with_the_offset_where_that_is_known() -> None:
    assert place(error_of("images", 3, 17)) == "images[3]@17"
    assert place(error_of("images", 3, -1001)) == place(error_of("images", 3)) == "images[3]"


def test_a_partition_that_cannot_be_fetched_is_stuck_in_time_and_the_reporter_says_so() -> None:
    desk = Desk()
    desk.ledger.assign(A, Progress(0))
    error: Any = SimpleNamespace(
        topic=lambda: "images", partition=lambda: 0, offset=lambda: 9, error=lambda: KafkaError(KafkaError._BAD_MSG)
    )
    begun_s = time.monotonic()
    desk.broker.failing.note(error)
    desk.broker.failing._since_s[A] = (begun_s - 299, begun_s)
    desk.reporter.report(begun_s)
    assert desk.reporter.snapshot.stuck == ()
    desk.reporter.report(begun_s + 2)
    assert desk.reporter.snapshot.stuck == ("images[0] cannot be fetched for 301 s: see kafka.poll_error in the log",)
