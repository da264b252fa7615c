"""Topics are read to their ends; one that cannot be costs its own group's verdict alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from confluent_kafka import KafkaError

from tests.chaos import verifier as room
from tests.chaos.verifier import Books, read, verify

ONE, TWO = ("images", 0), ("images", 1)


def message(partition: int, offset: int, error: int | None = None, value: bytes = b"", id_: str = "") -> Mock:
    kept: dict[str, Any] = {"topic": "images", "partition": partition, "offset": offset, "value": value}
    kept |= {"error": None if error is None else KafkaError(error), "timestamp": (2, offset)}
    kept["headers"] = [("image-worker.outcome.id", id_.encode())]
    return Mock(**{f"{name}.return_value": it for name, it in kept.items()})


class Clock:
    """Each time it is asked, a second has passed."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1.0
        assert self.now_s < 1000, "nobody gives up"
        return self.now_s


def given(monkeypatch: pytest.MonkeyPatch, ends: dict[tuple[str, int], int], *lots: Sequence[Mock]) -> None:
    """Have a consumer give these messages, and the last of them again and again."""
    rest, last = iter(lots), lots[-1]
    consumer = Mock(**{"consume.side_effect": lambda *_: next(rest, last)})
    monkeypatch.setattr(room, "_ends_at_last", lambda *_: ends)
    monkeypatch.setattr(room, "_reader", lambda *_: consumer)
    monkeypatch.setattr(room, "monotonic", Clock())


def test_all_is_read_to_the_ends_whatever_fails_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    down, end = KafkaError._ALL_BROKERS_DOWN, KafkaError._PARTITION_EOF
    first, second = message(0, 0), message(1, 0)
    given(
        monkeypatch,
        {ONE: 1, TWO: 1},
        [first],
        [message(0, 0, down)],
        [message(0, 1, end), second],
        [message(1, 1, end)],
    )
    assert list(read("servers", ["images"])) == [first, second]


@pytest.mark.parametrize("error", [KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTO_OFFSET_RESET])
def test_errors_are_no_news_and_are_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    given(monkeypatch, {ONE: 1}, [message(0, 0, error)])
    with pytest.raises(RuntimeError, match=KafkaError(error).str()):
        list(read("servers", ["images"]))


BROKEN = Books("a", "images-a", "results-a", "dead-a", exactly_once=False)
WHOLE = Books("b", "images-b", "results-b", "dead-b", exactly_once=True)
REPLAY = Books("c", "images-b", "results-c", "dead-c", exactly_once=True, until=1, replays="b")


def test_a_group_that_cannot_be_read_costs_no_other_its_verdict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    event = json.dumps({"url": "http://127.0.0.1:80/1.jpg", "id": "0"}).encode()

    def stored(_servers: str, topics: Sequence[str]) -> Iterator[Mock]:
        if topics[0] == "results-a":
            raise RuntimeError("nothing more can be read")
        return iter([message(0, 0, value=event), message(0, 1, value=event)] if topics[0] == "images-b" else [])

    monkeypatch.setattr(room, "read", stored)
    groups = {"broken": BROKEN, "whole": WHOLE, "replay": REPLAY}
    verdicts, wrong = verify("servers", groups, {}, tmp_path, lambda _: None)
    assert wrong == ["broken: cannot be verified: nothing more can be read"]
    assert {name: (each.events, each.lost) for name, each in verdicts.items()} == {"whole": (2, 2), "replay": (1, 1)}


def test_what_is_not_there_is_an_error_and_never_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Mock()
    monkeypatch.setattr(room, "Consumer", client)
    room._reader("servers", "read_committed")
    assert client.call_args.args[0]["auto.offset.reset"] == "error"


def outcome(at: int, of: int, id_: str) -> Mock:
    """A classification of an event that is fickle, in the only partition."""
    said = {"source": {"partition": 0, "offset": of}, "reference": {"id": str(of)}, "scores": [{"label": "a"}]}
    return message(0, at, value=json.dumps(said).encode(), id_=id_)


def test_exactly_once_has_its_own_order_and_a_replay_has_the_ids_of_what_it_repeats(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fickle = [json.dumps({"url": "http://127.0.1.1:80/0.jpg", "id": str(n)}).encode() for n in range(2)]
    topics = {
        "images-b": [message(0, n, value=value) for n, value in enumerate(fickle)],
        "results-b": [outcome(0, 1, "one"), outcome(1, 0, "null")],
        "results-c": [outcome(0, 0, "other")],
    }
    monkeypatch.setattr(room, "read", lambda _, names: iter(topics.get(names[0], [])))
    verdicts, wrong = verify("servers", {"whole": WHOLE, "replay": REPLAY}, {}, tmp_path, lambda _: None)
    assert (verdicts["whole"].out_of_order, verdicts["whole"].unequal_id) == (1, 0)
    assert (verdicts["replay"].out_of_order, verdicts["replay"].unequal_id) == (0, 1)
    assert wrong == []
