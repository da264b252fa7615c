"""Which hosts are asked before the network is blamed."""

from __future__ import annotations

from worker.images.witnesses import Origin, Witnesses


def host(name: str) -> Origin:
    return Origin(name, 80)


def test_where_nobody_ever_answered_several_dead_hosts_are_an_outage() -> None:
    witnesses = Witnesses(hosts=3, window_s=60)
    for now, name in enumerate(("a", "b", "c")):
        assert not witnesses.none_ever_answered(now)
        witnesses.failed(host(name), now)
    assert witnesses.none_ever_answered(3)


def test_one_dead_host_is_no_outage_however_often_it_fails() -> None:
    witnesses = Witnesses(hosts=2, window_s=60)
    for now in range(50):
        witnesses.failed(host("dead"), now)
    assert not witnesses.none_ever_answered(50)


def test_an_outage_in_which_nobody_ever_answered_is_believed_for_the_window_only() -> None:
    witnesses = Witnesses(hosts=2, window_s=60)
    witnesses.failed(host("a"), 0)
    witnesses.failed(host("b"), 50)
    assert witnesses.none_ever_answered(60)
    assert not witnesses.none_ever_answered(61)


def test_once_somebody_answered_the_witnesses_are_asked_instead() -> None:
    witnesses = Witnesses(hosts=2, window_s=60)
    witnesses.answered(host("good"), 0)
    witnesses.failed(host("a"), 1)
    witnesses.failed(host("b"), 1)
    assert not witnesses.none_ever_answered(1)
    assert list(witnesses.known(names=False)) == [host("good")]


def test_about_names_only_hosts_with_names_are_asked() -> None:
    witnesses = Witnesses(hosts=2, window_s=60)
    for name in ("192.0.2.1", "[2001:db8::1]", "2001:db8::1", "img.example.com", "1.example"):
        witnesses.answered(host(name), 0)
    assert {origin.host for origin in witnesses.known(names=True)} == {"img.example.com", "1.example"}


def test_who_was_silent_while_others_answered_for_long_is_no_witness_any_more() -> None:
    witnesses = Witnesses(hosts=2, window_s=60)
    witnesses.answered(host("gone"), 0)
    witnesses.answered(host("good"), 599)
    assert len(witnesses.known(names=False)) == 2
    witnesses.answered(host("good"), 601)
    assert list(witnesses.known(names=False)) == [host("good")]


def test_an_outage_makes_nobody_forgotten_however_long_it_lasts() -> None:
    witnesses = Witnesses(hosts=2, window_s=60)
    witnesses.answered(host("a"), 0)
    witnesses.answered(host("b"), 0)
    witnesses.failed(host("a"), 100_000)
    assert len(witnesses.known(names=False)) == 2


def test_hosts_that_strangers_name_do_not_fill_the_memory() -> None:
    witnesses = Witnesses(hosts=2, window_s=60)
    for number in range(10_000):
        witnesses.failed(host(f"dead-{number}"), 0)
        witnesses.answered(host(f"good-{number}"), 0)
    assert len(witnesses._failed) <= 64
    assert len(witnesses._answered) <= 64
