"""When a host is left alone, and when it is tried again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.images.breaker import Breaker


def fail(breaker: Breaker, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        breaker.failed("status 500", now, first=True, probe=False)


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    fail(breaker, 10, now)
    return breaker


def test_a_host_that_fails_for_ten_images_is_left_alone_for_a_second() -> None:
    breaker = Breaker()
    fail(breaker, 9)
    assert breaker.admits(0)
    fail(breaker, 1)
    assert not breaker.admits(0.9)
    assert breaker.admits(1.0)


def test_a_host_of_which_a_third_fails_is_asked_on() -> None:
    breaker = Breaker()
    for number in range(300):
        if number % 3:
            breaker.succeeded()
        else:
            fail(breaker, 1)
        assert breaker.admits(0)


def test_retries_do_not_count_since_they_repeat_what_the_first_try_said() -> None:
    breaker = Breaker()
    for _ in range(100):
        breaker.failed("status 500", 0, first=False, probe=False)
    assert breaker.admits(0)


def test_after_its_rest_one_try_at_a_time_tests_the_host() -> None:
    breaker = opened()
    assert breaker.begin()
    assert not breaker.admits(1.0)


def test_an_answer_closes_the_breaker() -> None:
    breaker = opened()
    breaker.begin()
    breaker.succeeded()
    assert breaker.admits(0)
    assert not breaker.begin()


def test_each_failed_test_doubles_the_rest_up_to_half_a_minute() -> None:
    breaker, now, rests = opened(), 1.0, []
    for _ in range(7):
        breaker.begin()
        breaker.failed("status 500", now, first=False, probe=True)
        assert breaker.rests_until is not None
        rests.append(breaker.rests_until - now)
        now = breaker.rests_until
    assert rests == [2, 4, 8, 16, 30, 30, 30]


def test_a_test_that_says_nothing_lets_the_next_one_test() -> None:
    breaker = opened()
    breaker.begin()
    breaker.ended(probe=True)
    assert breaker.admits(1.0)


def test_tries_that_began_before_and_fail_later_do_not_lengthen_the_rest() -> None:
    breaker = opened()
    fail(breaker, 20, now=0.5)
    assert breaker.rests_until == 1.0


def test_a_host_that_fails_gets_a_fifth_more_tries_than_images() -> None:
    breaker, retries = Breaker(), 0
    for _ in range(1000):
        breaker.failed("status 500", 0, first=True, probe=False)
        retries += breaker.take_retry()
    assert 200 <= retries <= 210


def test_what_was_wrong_is_remembered_for_the_dead_letter() -> None:
    assert opened().why == "status 500"


@given(st.lists(st.sampled_from(("begin", "succeeded", "failed", "ended", "forgive")), max_size=60))
def test_whatever_happens_a_host_is_tried_again_after_its_rest(events: list[str]) -> None:
    breaker, now, probe = Breaker(), 0.0, False
    for event in events:
        now += 1
        if event == "begin" and breaker.admits(now):
            probe = breaker.begin()
        elif event == "succeeded":
            breaker.succeeded()
        elif event == "failed":
            breaker.failed("why", now, first=True, probe=probe)
            probe = False
        elif event == "ended":
            breaker.ended(probe=probe)
            probe = False
        elif event == "forgive":
            breaker.forgive()
    breaker.ended(probe=probe)
    assert breaker.admits(now + 30)
