"""What is wrong with a run is said, all of it."""

from __future__ import annotations

import argparse
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import MagicMock, Mock

import pytest

from tests.chaos import __main__ as room
from tests.chaos.books import Committed, Verdict, audit
from tests.chaos.groups import Group
from tests.chaos.plan import Fault
from tests.chaos.verifier import Books
from tests.chaos.workers import Combination

ONE, TWO = Combination("exactly-once", "classic"), Combination("exactly-once", "consumer")
REPLAY = Combination("exactly-once", "consumer", is_replay=True)


def lost(count: int) -> Verdict:
    """That on a group whose last events have no outcome."""
    return audit({0: count}, [], [Committed(0, count, 1000)], exactly_once=True)


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """A run in which all brokers died once, in which what is lost was lost by the brokers, and all else is well."""
    groups = {
        str(each): Group(each, Books(str(each), str(each), "out", "dead", True), ()) for each in (ONE, TWO, REPLAY)
    }
    whole = MagicMock(groups=groups, done=Counter(dict.fromkeys(Fault, 1)), troubles=[])
    whole.dead_brokers.return_value, whole.producer.refused = [], []
    whole.producer.acknowledged = Counter({str(ONE): 6, str(TWO): 6})
    monkeypatch.setattr(room, "arena", lambda *_: nullcontext(whole))
    monkeypatch.setattr(room, "Run", lambda *_: Mock(**{"settle.return_value": []}))
    monkeypatch.setattr(room, "attempts", lambda _servers, _books, doubtful: doubtful)
    monkeypatch.setattr(room, "_blamed", lambda _logs, events: {"unmarked": set(events), "torn": set()})
    return whole


def wrong(monkeypatch: pytest.MonkeyPatch, folder: Path, found: dict[str, Verdict], *unread: str) -> list[str]:
    monkeypatch.setattr(room, "verify", lambda *_: (found, list(unread)))
    return room._chaos(argparse.Namespace(seed=1, minutes=10.0, delivery=None, protocol=None, rate=25.0), folder)


def test_what_died_was_not_read_or_never_done_is_wrong_though_all_that_was_found_balances(
    whole: MagicMock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = {str(each): Verdict(events=6) for each in (ONE, TWO, REPLAY)}
    assert wrong(monkeypatch, tmp_path, found) == []
    whole.dead_brokers.return_value, whole.done[Fault.WIRE_CUT] = ["broker 2 is dead"], 0
    whole.producer.acknowledged[str(ONE)], whole.producer.refused = 7, ["the producer died"]
    found = {str(ONE): found[str(ONE)], str(REPLAY): Verdict()}
    told = wrong(monkeypatch, tmp_path, found, f"{TWO}: cannot be verified: why")
    assert [each.partition(": planned")[0] for each in told] == [
        "broker 2 is dead",
        "the producer died",
        f"{TWO}: cannot be verified: why",
        "wire cut",
        f"{ONE}: 6 events were read, and 7 were acknowledged",
        f"{REPLAY}: 0 events were read, and 0 were acknowledged",
    ]


@pytest.mark.parametrize(("deaths", "blamed"), [(0, set()), (1, {ONE}), (2, {ONE, TWO})])
def test_what_the_brokers_lose_has_a_limit_for_each_time_that_all_of_them_died(
    whole: MagicMock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, deaths: int, blamed: set[Combination]
) -> None:
    whole.done[Fault.ALL_BROKERS_KILLED] = deaths
    found = {str(each): lost(6) for each in (ONE, TWO)}
    told = wrong(monkeypatch, tmp_path, found)
    assert {str(each) for each in (ONE, TWO) if not any(line.startswith(f"{each}: lost: 6") for line in told)} == {
        str(each) for each in blamed
    }
