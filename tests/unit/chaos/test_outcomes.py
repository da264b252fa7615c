"""What an outcome says of itself, be it the worker's or something that never should be there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from tests.chaos.books import NOWHERE, Found
from tests.chaos.outcomes import found


class Message:
    """As much of a client's message as is looked at."""

    def __init__(self, value: bytes, headers: Mapping[str, bytes | None]) -> None:
        self.value = lambda: value
        self.headers = lambda: list(headers.items())
        self.topic, self.partition, self.offset = lambda: "out", lambda: 3, lambda: 77
        self.timestamp = lambda: (2, 1234)


DEAD = {"__connect.errors.partition": b"5", "__connect.errors.offset": b"8", "image-worker.reason": b"fetch_timeout"}
EVENT = {"url": "http://127.0.0.1:1/1.jpg", "id": "17"}
CLASSIFICATION = {
    "source": {"partition": 5, "offset": 8},
    "reference": {"id": "17"},
    "scores": [{"label": "b"}, {"label": "a"}],
}


def of(value: Any, headers: Mapping[str, bytes | None] = MappingProxyType({})) -> Found:
    message: Any = Message(
        value if isinstance(value, bytes) else json.dumps(value).encode(),
        {"image-worker.outcome.id": b"an id", **headers},
    )
    return found(message)


def test_a_classification_names_its_event_and_what_it_found() -> None:
    assert of(CLASSIFICATION) == Found((5, 8), "an id", ("out", 3), 77, 1234, "", "17", "b")
    assert of(CLASSIFICATION | {"scores": []}).label is None


def test_a_dead_letter_has_a_reason_and_the_id_in_the_event_that_it_carries() -> None:
    assert of(EVENT, DEAD) == Found((5, 8), "an id", ("out", 3), 77, 1234, "fetch_timeout", "17")
    assert of(b"no event at all", DEAD).names is None


def test_a_dead_letter_that_says_no_reason_is_one_all_the_same() -> None:
    assert of(EVENT, DEAD | {"image-worker.reason": b""}).reason == "none"
    assert of(EVENT, {name: text for name, text in DEAD.items() if "reason" not in name}).reason == "none"


@pytest.mark.parametrize(
    "headers",
    [
        DEAD | {"__connect.errors.offset": b""},
        DEAD | {"__connect.errors.partition": None},
        {"__connect.errors.offset": b"8"},
    ],
)
def test_a_dead_letter_whose_headers_are_empty_is_of_nowhere(headers: Mapping[str, bytes | None]) -> None:
    assert of(EVENT, headers).event == NOWHERE


@pytest.mark.parametrize("value", [b"", b"?", [], {}, CLASSIFICATION | {"source": {"partition": None, "offset": 8}}])
def test_what_is_no_outcome_is_of_nowhere(value: Any) -> None:
    assert of(value).event == NOWHERE
