"""When batches leave, and how failed ones are taken apart."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from worker.models.batch import Bisection, Flush, FlushRule, Gathering, bucket_of, buckets

counts = st.integers(0, 64)
times = st.floats(0, 1e6)
gatherings = st.builds(
    Gathering,
    count=counts,
    oldest_s=times,
    expected_until_s=st.one_of(st.just(-math.inf), times),
    model_idle=st.booleans(),
    draining=st.booleans(),
)
rules = st.builds(FlushRule, max_size=st.integers(1, 64), max_age_s=st.floats(0, 10))


def gathering(
    count: int = 1,
    *,
    oldest_s: float = 0.0,
    expected_until_s: float = -math.inf,
    model_idle: bool = False,
    draining: bool = False,
) -> Gathering:
    return Gathering(count, oldest_s, expected_until_s, model_idle, draining)


@given(rules, gatherings, times)
def test_an_empty_batch_never_leaves_and_a_full_one_always_does(
    rule: FlushRule, batch: Gathering, now_s: float
) -> None:
    reason = rule.reason(batch, now_s)
    assert batch.count > 0 or reason is None
    assert (reason is Flush.SIZE) == (batch.count >= rule.max_size)


@given(rules, gatherings)
def test_no_image_waits_longer_than_the_age(rule: FlushRule, batch: Gathering) -> None:
    assert batch.count == 0 or rule.reason(batch, rule.due_s(batch)) is not None


@given(rules, gatherings, times)
def test_a_batch_that_waits_could_still_gain_something(rule: FlushRule, batch: Gathering, now_s: float) -> None:
    if batch.count and rule.reason(batch, now_s) is None:
        assert batch.expected_until_s > now_s or not batch.model_idle
        assert not batch.draining
        assert now_s < rule.due_s(batch)


def test_an_idle_model_takes_a_batch_at_once_when_nothing_else_is_on_its_way() -> None:
    rule = FlushRule(max_size=8, max_age_s=1.0)
    assert rule.reason(gathering(model_idle=True), 0.0) is Flush.IDLE
    assert rule.reason(gathering(model_idle=True, expected_until_s=0.5), 0.4) is None
    assert rule.reason(gathering(model_idle=False), 0.0) is None


def test_what_has_been_on_its_way_for_long_is_waited_for_no_more() -> None:
    rule = FlushRule(max_size=8, max_age_s=1.0)
    waiting = gathering(oldest_s=5.0, model_idle=True, expected_until_s=5.3)
    assert rule.due_s(waiting) == 5.3
    assert rule.reason(waiting, 5.2) is None
    assert rule.reason(waiting, 5.3) is Flush.IDLE
    assert rule.due_s(gathering(oldest_s=5.0, model_idle=False, expected_until_s=5.3)) == 6.0


def test_the_age_counts_from_the_oldest_image() -> None:
    rule = FlushRule(max_size=8, max_age_s=1.0)
    assert rule.reason(gathering(oldest_s=5.0, expected_until_s=7.0), 5.9) is None
    assert rule.reason(gathering(oldest_s=5.0, expected_until_s=7.0), 6.0) is Flush.AGE


def test_a_drain_waits_for_nothing() -> None:
    rule = FlushRule(max_size=8, max_age_s=1.0)
    assert rule.reason(gathering(expected_until_s=1.0, draining=True), 0.0) is Flush.DRAIN


def bisect(count: int, bad: set[int], ceiling: int) -> tuple[list[int], list[int], list[int]]:
    """The images that succeeded, those found at fault, and the sizes that were tried."""
    work, done, found, tried = Bisection(count), [], [], []
    while (span := work.next(ceiling)) is not None:
        images = range(span.start, span.stop)
        tried.append(len(span))
        if bad.isdisjoint(images):
            done += images
        elif not work.failed(span):
            found += images
    return done, found, tried


@given(counts, st.sets(st.integers(0, 63)), st.integers(1, 64))
def test_bisection_finds_exactly_the_failing_images_and_runs_every_other(
    count: int, bad: set[int], ceiling: int
) -> None:
    done, found, tried = bisect(count, bad, ceiling)
    assert found == sorted(bad & set(range(count)))
    assert done == sorted(set(range(count)) - bad)
    assert all(size <= ceiling for size in tried)


@given(st.integers(1, 64), st.sets(st.integers(0, 63)))
def test_bisection_is_cheap_where_few_images_fail(count: int, bad: set[int]) -> None:
    _, found, tried = bisect(count, bad, count)
    assert len(tried) <= 2 * len(found) * (math.log2(count) + 1) + 1


def test_a_batch_without_failures_is_run_once() -> None:
    assert bisect(32, set(), 32) == (list(range(32)), [], [32])


def test_a_ceiling_that_falls_on_the_way_holds_for_what_is_left() -> None:
    work = Bisection(8)
    span = work.next(8)
    assert span is not None
    assert work.failed(span)
    sizes = []
    while (span := work.next(2)) is not None:
        sizes.append(len(span))
    assert sizes == [2, 2, 2, 2]


@given(st.integers(1, 4096), st.data())
def test_a_batch_is_filled_up_to_less_than_twice_its_size(max_size: int, data: st.DataObject) -> None:
    sizes = buckets(max_size)
    count = data.draw(st.integers(1, max_size))
    assert count <= bucket_of(count, sizes) < 2 * count + (count == 1)
    assert sizes[-1] == max_size
    assert len(sizes) <= 13


def test_without_sizes_no_batch_is_filled_up() -> None:
    assert bucket_of(7, ()) == 7
