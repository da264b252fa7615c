"""How fast a replay goes and how long it takes, on a clock that is set by hand."""

from __future__ import annotations

import pytest

from worker.replay.meter import Meter, Reading, paced, spoken


def test_the_rate_is_that_of_the_last_minute() -> None:
    meter = Meter(10_000, 0.0)
    for second in range(1, 101):
        meter.read(10_000 - 10 * second, float(second))
    for second in range(101, 201):
        reading = meter.read(9_000 - 20 * (second - 100), float(second))
    assert reading == Reading(done=3_000, total=10_000, per_s=20.0, left_s=350.0)


def test_what_a_start_takes_is_no_part_of_the_rate() -> None:
    meter = Meter(1_000, 0.0)
    assert meter.read(1_000, 30.0) == Reading(0, 1_000, 0.0, None)
    assert meter.read(990, 31.0) == Reading(10, 1_000, 10.0, 99.0)


def test_where_more_is_left_than_at_first_that_is_the_whole() -> None:
    meter = Meter(100, 0.0)
    assert meter.read(150, 1.0) == Reading(0, 150, 0.0, None)
    assert meter.read(149, 2.0) == Reading(1, 150, 1.0, 149.0)


@pytest.mark.parametrize(("per_s", "words"), [(0.4, "0.4/s"), (9.94, "9.9/s"), (10, "10/s"), (123.4, "123/s")])
def test_a_rate_is_told_in_words(per_s: float, words: str) -> None:
    assert paced(per_s) == words


def test_while_nothing_moves_no_end_is_told() -> None:
    assert Meter(10, 0.0).read(10, 5.0).left_s is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "unknown"), (0, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3599, "59 min 59 s"), (7500, "2 h 05 min")],
)
def test_a_time_is_told_in_words(seconds: float | None, words: str) -> None:
    assert spoken(seconds) == words
