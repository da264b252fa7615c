"""The way of one event, where even its end fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.typing import EventDict

from worker.errors import Fatal, Reason, Rejected
from worker.kafka.codec import EventDecoder
from worker.kafka.deadletter import DeadLetters
from worker.kafka.ledger import Ticket
from worker.kafka.settings import EventsSettings
from worker.models.classifier import head_of
from worker.observe.metrics import Metrics
from worker.pipeline import Pipeline
from worker.records import Coordinates, Head, SourceRecord
from worker.testing import FreeClassifier

EMPTY = SourceRecord(Coordinates("images", 3, 7), 0, None, b"", ())


async def test_a_record_of_which_no_outcome_can_be_made_stops_the_worker_which_names_it(logs: list[EventDict]) -> None:
    def no_head() -> Head:
        raise RuntimeError("the model is gone")

    not_reached: Any = None
    pipeline = Pipeline(
        EventDecoder(EventsSettings(), None),
        not_reached,
        not_reached,
        not_reached,
        DeadLetters("dead", no_head),
        Metrics(),
        finish=not_reached,
        hold_back=not_reached,
    )
    pipeline.admit([Ticket(EMPTY, epoch=1, opened_s=0, size_bytes=0, follows=7)])
    with pytest.raises(Fatal, match=r"images\[3\]@7: no outcome could be made of it: .*the model is gone"):
        await asyncio.wait_for(pipeline.failed, 10)
    assert [line["record"] for line in logs if line["event"] == "pipeline.no_outcome"] == ["images[3]@7"]


def test_a_detail_that_utf8_cannot_hold_is_written_out_in_its_dead_letter() -> None:
    letters = DeadLetters("dead", lambda: head_of(FreeClassifier()))
    made = letters.make(EMPTY, Rejected(Reason.MODEL_FAILED, "no such file: \ud800"))
    assert dict(made.record.headers)["__connect.errors.exception.message"] == b"model_failed: no such file: \\ud800"
