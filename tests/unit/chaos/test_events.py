"""What an event asks for, as the producer makes them, and what may come of it."""

from __future__ import annotations

import json
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos.events import Event, event_of
from tests.chaos.hosts import Hosts
from tests.chaos.producer import SteadyProducer


def event(number: int) -> Event:
    """That with this number, of those that the producer makes."""
    port: Any = SimpleNamespace(port=8000)
    hosts = SimpleNamespace(address=partial(Hosts.address, port), missing=partial(Hosts.missing, port))
    maker: Any = SimpleNamespace(_hosts=hosts)
    value = SteadyProducer._event(maker, number)["value"]
    return event_of(value.encode())


@pytest.mark.parametrize(("picture", "label"), [(1, "a"), (3, "a"), (4, "b"), (11, "c"), (12, "d"), (15, "d")])
def test_a_sound_one_has_the_label_of_its_picture(picture: int, label: str) -> None:
    found = event(picture)
    assert (found.id, found.label, found.is_sound, found.is_fickle) == (str(picture), label, True, False)
    assert "fetch_timeout" in found.reasons
    assert not found.reasons & {"internal_error", "decoder_crashed", "http_server_error", "not_an_image"}


def test_of_a_host_that_fails_at_times_it_has_its_label_or_the_hosts_fault() -> None:
    found = event(10)
    assert (found.label, found.is_sound, found.is_fickle) == ("c", False, True)
    assert "http_server_error" in found.reasons
    assert not found.reasons & {"internal_error", "decoder_crashed"}


@pytest.mark.parametrize(
    ("number", "id_", "reason"),
    [(0, "0", "http_client_error"), (20, "20", "forbidden_address"), (40, None, "unrecognised_value")],
)
def test_a_broken_one_has_no_label_and_a_reason_of_its_own(number: int, id_: str | None, reason: str) -> None:
    found = event(number)
    assert (found.id, found.label, found.is_sound) == (id_, None, False)
    assert reason in found.reasons
    assert "internal_error" not in found.reasons


@pytest.mark.parametrize("value", ["", "7", "[]", "{}", json.dumps({"url": "http://127.0.0.1:1/1.jpg"})])
def test_what_is_none_is_none(value: str) -> None:
    assert event_of(value.encode()).id is None
