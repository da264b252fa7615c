"""When failed connections mean that the network itself is down."""

from __future__ import annotations

from worker.images.outage import Outage


def test_three_hosts_that_all_fail_are_an_outage() -> None:
    outage = Outage(hosts=3, window_s=60)
    for now, host in enumerate(("a", "b", "c")):
        assert not outage.at_large(now)
        outage.failed(host, now)
    assert outage.at_large(3)


def test_one_dead_host_is_no_outage_however_often_it_fails() -> None:
    outage = Outage(hosts=3, window_s=60)
    for now in range(50):
        outage.failed("dead", now)
    assert not outage.at_large(50)


def test_any_answer_ends_an_outage() -> None:
    outage = Outage(hosts=2, window_s=60)
    outage.failed("a", 0)
    outage.failed("b", 0)
    outage.answered()
    assert not outage.at_large(0)


def test_old_failures_do_not_count() -> None:
    outage = Outage(hosts=2, window_s=60)
    outage.failed("a", 0)
    outage.failed("b", 61)
    assert not outage.at_large(61)


def test_an_outage_is_news_for_as_long_as_the_window_and_anew_after_an_answer() -> None:
    outage = Outage(hosts=2, window_s=60)
    outage.failed("a", 0)
    outage.failed("b", 50)
    assert outage.is_news(60)
    assert not outage.is_news(61)
    outage.answered()
    outage.failed("a", 100)
    assert outage.is_news(150)


def test_hosts_that_strangers_name_do_not_fill_the_memory() -> None:
    outage = Outage(hosts=3, window_s=60)
    for number in range(10_000):
        outage.failed(f"host-{number}", 0)
    assert len(outage._failed) <= 64
