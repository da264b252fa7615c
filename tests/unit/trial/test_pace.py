"""Throughput, with the time given by hand."""

from __future__ import annotations

import pytest

from worker.trial.pace import Pace, Stopwatch


def run(ended_s: list[float], took_s: list[float | None], warm_up: int) -> tuple[Pace, list[float]]:
    stopwatch = Stopwatch(0.0, warm_up, at_once=16)
    rates = [stopwatch.ended(now_s, took) for now_s, took in zip(ended_s, took_s, strict=True)]
    return stopwatch.pace(), rates


def test_the_first_batch_is_left_out() -> None:
    pace, rates = run([8.0, 10.0, 10.5, 11.0, 11.5, 12.0], [5.0, 5.0, 0.1, 0.3, None, 0.2], warm_up=2)
    assert (pace.images, pace.left_out, pace.images_per_s) == (4, 2, 2.0)
    assert (pace.p50_ms, pace.at_once) == (pytest.approx(200), 16)
    assert pace.p99_ms == pytest.approx(298)
    assert rates[-1] == 2.0


def test_where_there_is_no_other_batch_the_first_one_counts() -> None:
    pace, rates = run([1.0, 2.0], [0.5, 0.7], warm_up=2)
    assert (pace.images, pace.left_out, pace.images_per_s, pace.p50_ms) == (2, 0, 1.0, pytest.approx(600))
    assert rates == [1.0, 1.0]


def test_times_are_those_of_images_that_were_classified() -> None:
    pace, _ = run([1.0, 2.0, 3.0], [0.5, None, None], warm_up=1)
    assert (pace.images, pace.p50_ms) == (2, pytest.approx(500))
