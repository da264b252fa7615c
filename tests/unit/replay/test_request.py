"""Which replay a command line asks for, and the settings that come of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from worker.errors import ConfigurationError
from worker.kafka.points import parse_point
from worker.replay.derive import derived
from worker.replay.request import Request
from worker.settings import Settings

REQUEST = Request("beginning", "now", (3, 1))


def identity(request: Request, live: dict[str, Any] | None = None, fingerprint: str = "f") -> str:
    return request.identity(Settings.model_validate(live or {}), fingerprint)


def test_the_same_question_to_the_same_model_is_the_same_replay_however_it_is_written() -> None:
    assert identity(REQUEST) == identity(replace(REQUEST, partitions=(1, 3, 3), rate=5.0))
    noon = Request("2026-01-31T12:00:00Z", "now")
    assert identity(noon) == identity(replace(noon, start="2026-01-31T13:00:00+01:00"))


@pytest.mark.parametrize(
    "other",
    [
        {"start": "5"},
        {"end": "2026-01-01"},
        {"partitions": (1,)},
        {"output": "elsewhere"},
        {"dead_letters": "elsewhere"},
    ],
)
def test_another_question_is_another_replay(other: dict[str, Any]) -> None:
    assert identity(replace(REQUEST, **other)) != identity(REQUEST)


@pytest.mark.parametrize(
    "live",
    [
        {"kafka": {"topics": {"input": "more"}}},
        {"kafka": {"topics": {"results": "elsewhere"}}},
        {"kafka": {"topics": {"dead_letters": "elsewhere"}}},
        {"policy": {"thresholds": {"cat": {"block": 0.5}}}},
        {"policy": {"unscannable": "review"}},
    ],
)
def test_the_same_question_of_another_topic_into_others_or_by_another_policy_is_another_replay(
    live: dict[str, Any],
) -> None:
    assert identity(REQUEST, live) != identity(REQUEST)


def test_the_same_policy_written_in_another_order_is_the_same_replay() -> None:
    labels = {"cat": {"block": 0.5}, "dog": {"block": 0.6}}
    turned = dict(reversed(labels.items()))
    assert identity(REQUEST, {"policy": {"thresholds": labels}}) == identity(
        REQUEST, {"policy": {"thresholds": turned}}
    )


def test_an_output_that_is_told_is_another_one_than_that_of_its_own() -> None:
    assert identity(replace(REQUEST, output="classifications")) != identity(REQUEST)


def test_another_model_is_another_replay_and_an_id_that_is_given_is_taken() -> None:
    assert identity(REQUEST) != identity(REQUEST, fingerprint="e")
    assert identity(replace(REQUEST, id="mine")) == "mine"


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("2026-01-31T12:00:00.0001+01:00", "2026-01-31T11:00:00.001000Z"),
        ("20260131T120000Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31 12:00", "2026-01-31T12:00:00Z"),
        ("2026-W05-6", "2026-01-31T00:00:00Z"),
        ("20260131", None),
        ("beginning", None),
    ],
)
def test_a_time_is_told_as_it_is_understood(text: str, utc: str | None) -> None:
    assert parse_point("--from", text).utc == utc


@pytest.mark.parametrize("text", ["2026-01-31+02:00", "2026-01-31-05:00", "2026-01-31x12:00", "-5", "1.5", "soon", ""])
def test_what_is_no_point_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="write beginning, end, an offset, or a time such as"):
        parse_point("--from", text)


@pytest.mark.parametrize("rate", [float("nan"), float("inf")])
def test_a_rate_that_is_no_number_is_refused(rate: float) -> None:
    with pytest.raises(ConfigurationError, match="--rate"):
        Request("beginning", "now", rate=rate)


@pytest.mark.parametrize(("start", "end"), [("now", "beginning"), ("9", "3"), ("2026-02-01", "2026-01-01")])
def test_a_window_that_ends_before_it_begins_is_refused(start: str, end: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--from {start} is after --to {end}"):
        Request(start, end)
    for first, last in ((end, start), (start, start), (end, end)):
        Request(first, last)


def settings(**kafka: Any) -> Settings:
    policy = {"topics": {"block": "blocked"}}
    return Settings.model_validate({"kafka": kafka, "policy": policy, "observe": {"port": 9108}})


def test_a_replay_has_a_group_topics_and_a_port_of_its_own() -> None:
    own = derived(settings(transactional_id="pod-1", group_instance_id="pod-1"), REQUEST, "mine", port_is_told=False)
    assert own.kafka.group_instance_id is None, "several processes share one command line"
    assert own.kafka.group_id == "image-worker.replay.mine"
    assert own.kafka.topics.input == "images"
    assert own.kafka.topics.results == "classifications.replay.mine"
    assert own.kafka.topics.dead_letters == "images-dead-letters.replay.mine"
    assert own.kafka.transactional_id == "pod-1.replay.mine"
    assert (own.policy.topics, own.observe.port) == ({}, 0)


def test_topics_and_a_port_that_are_told_are_taken() -> None:
    told = replace(REQUEST, output="classifications", dead_letters="letters")
    own = derived(settings(), told, "mine", port_is_told=True)
    assert (own.kafka.topics.results, own.kafka.topics.dead_letters) == ("classifications", "letters")
    assert own.kafka.transactional_id is None
    assert (own.policy.topics, own.observe.port) == ({"block": "blocked"}, 9108)
    elsewhere = derived(settings(), replace(REQUEST, output="elsewhere"), "mine", port_is_told=True)
    assert elsewhere.policy.topics == {}


def test_its_labels_are_those_of_its_start_whatever_becomes_of_their_file(tmp_path: Path) -> None:
    live = settings()
    model = live.model.model_copy(update={"labels_file": tmp_path / "labels.toml"})
    live = live.model_copy(update={"model": model})
    assert derived(live, REQUEST, "mine", port_is_told=False).model.labels_file is None


@pytest.mark.parametrize("option", ["output", "dead_letters"])
def test_a_replay_into_the_topic_that_it_reads_is_refused(option: str) -> None:
    looped = replace(REQUEST, **{option: "images"})
    with pytest.raises(ConfigurationError, match="images: this is the topic that is replayed"):
        derived(settings(), looped, "mine", port_is_told=False)


def test_a_name_that_kafka_does_not_take_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="has 252 characters, more than Kafka takes"):
        derived(settings(topics={"results": "r" * 240}), REQUEST, "mine", port_is_told=False)
