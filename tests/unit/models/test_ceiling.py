"""The largest batch that is tried: it falls with what does not fit, and rises again carefully."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.models.batch import Ceiling


def held(ceiling: Ceiling, batches: int, size: int | None = None) -> None:
    for _ in range(batches):
        ceiling.fitted(size or ceiling.size)


def test_what_does_not_fit_halves_it() -> None:
    ceiling = Ceiling(32)
    ceiling.fell(32)
    assert ceiling.size == 16


def test_it_rises_by_an_eighth_when_full_batches_held_for_long() -> None:
    ceiling = Ceiling(32)
    ceiling.fell(32)
    held(ceiling, 2 * Ceiling.PATIENCE - 1)
    assert ceiling.size == 16
    held(ceiling, 1)
    assert ceiling.size == 18


def test_smaller_batches_prove_nothing() -> None:
    ceiling = Ceiling(32)
    ceiling.fell(32)
    held(ceiling, 10_000, size=15)
    assert ceiling.size == 16


def test_a_rise_that_fails_is_taken_back_and_the_next_one_waits_twice_as_long() -> None:
    ceiling = Ceiling(32)
    ceiling.fell(32)
    held(ceiling, 2 * Ceiling.PATIENCE)
    ceiling.fell(18)
    assert ceiling.size == 16
    held(ceiling, 4 * Ceiling.PATIENCE - 1)
    assert ceiling.size == 16
    held(ceiling, 1)
    assert ceiling.size == 18


def test_memory_that_comes_back_is_used_again_in_the_end() -> None:
    ceiling = Ceiling(32)
    ceiling.fell(32)
    ceiling.fell(16)
    held(ceiling, 100 * Ceiling.PATIENCE)
    assert ceiling.size == 32


@given(st.integers(1, 200), st.lists(st.booleans(), max_size=300))
def test_it_stays_between_one_and_the_size_allowed(max_size: int, fits: list[bool]) -> None:
    ceiling = Ceiling(max_size)
    for well in fits:
        (ceiling.fitted if well else ceiling.fell)(ceiling.size)
        assert 1 <= ceiling.size <= max_size


@given(st.integers(2, 64), st.integers(1, 63))
def test_where_less_fits_for_good_ever_fewer_batches_fail(max_size: int, fits: int) -> None:
    ceiling, failed = Ceiling(max_size), 0
    for _ in range(20_000):
        if ceiling.size > fits:
            failed += 1
            ceiling.fell(ceiling.size)
        else:
            ceiling.fitted(ceiling.size)
    assert failed <= 16
    assert ceiling.size <= fits + max(1, fits // 8)
