"""The limit of records a second, on a clock that is set by hand."""

from __future__ import annotations

import pytest

from worker.kafka.pace import Pace


def taken(pace: Pace, start_s: float, end_s: float, step_s: float) -> int:
    """How many come through when one is tried for as often as it is let, at each step."""
    count, now_s = 0, start_s
    while now_s < end_s:
        while pace.ready(now_s):
            pace.took()
            count += 1
        now_s += step_s
    return count


@pytest.mark.parametrize(
    ("rate", "step_s"), [(1, 0.2), (7.5, 0.005), (100, 0.005), (3000, 0.005), (100, 0.09), (10, 0.9)]
)
def test_in_the_long_run_the_rate_comes_through_and_one_burst_more_at_most(rate: float, step_s: float) -> None:
    count = taken(Pace(rate, 0.0), 0.0, 60.0, step_s)
    assert 60 * rate - rate * step_s - 1 <= count <= 60 * rate + max(2, rate)


def test_what_was_not_used_for_long_is_not_made_up_for() -> None:
    pace = Pace(100, 0.0)
    assert taken(pace, 1000.0, 1000.001, 1.0) == 100


def test_a_poll_that_brings_nothing_costs_nothing() -> None:
    pace = Pace(1, 0.0)
    assert all(pace.ready(0.0) for _ in range(100))
