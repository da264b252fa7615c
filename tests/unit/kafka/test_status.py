"""What is said of partitions: where their oldest record is, how far they are behind, and where to look."""

from __future__ import annotations

import re

import pytest
from structlog.typing import EventDict

from tests.unit.kafka.books import PARTITIONS, outcome_of
from tests.unit.kafka.desk import PATIENCE_S, Desk
from worker.errors import Stage
from worker.kafka.partition_status import PartitionStatus

A, B = PARTITIONS[:2]
WAY = [stage for stage in Stage if stage is not Stage.WORKER]
"""What a record can be at: no record's way ends at the last one."""


@pytest.fixture
def desk() -> Desk:
    return Desk()


def stuck(desk: Desk) -> tuple[str, ...]:
    desk.reporter.report(desk.reporter._reported_s + 301.0)
    return desk.reporter.snapshot.stuck


def lag(desk: Desk) -> float | None:
    desk.reporter.report(desk.reporter._reported_s + 1.0)
    labels = {"topic": A[0], "partition": str(A[1])}
    return desk.metrics.registry.get_sample_value("image_worker_lag_records", labels)


@pytest.mark.parametrize("stage", WAY)
def test_a_record_that_is_stuck_is_said_once_with_its_stage_and_where_to_look(
    desk: Desk, logs: list[EventDict], stage: Stage
) -> None:
    desk.assign(A)
    desk.open(A, 0).stage = stage
    first, _ = stuck(desk), stuck(desk)
    (said,) = (line for line in logs if line["event"] == "record.stuck")
    assert first == (said["what"],)
    assert re.fullmatch(rf"images\[0\]@0 is unsettled for \d+ s, at the stage {stage}", said["what"])
    assert said["next"].startswith("look at ")


def test_each_stage_has_a_place_to_look_at_of_its_own() -> None:
    places = {PartitionStatus("images", 0, oldest_stage=stage, oldest_age_s=1.0).look_at for stage in WAY}
    assert len(places) == len(WAY)


@pytest.mark.parametrize("stage", [Stage.EVENT, Stage.FETCH, Stage.DECODE])
def test_one_that_has_its_outcome_of_whatever_kind_waits_to_be_published(desk: Desk, stage: Stage) -> None:
    desk.assign(A)
    ticket = desk.open(A, 0)
    ticket.stage = stage
    desk.ledger.finish(ticket, outcome_of(ticket))
    (line,) = stuck(desk)
    assert line.endswith("at the stage publish")


def test_a_partition_that_is_not_begun_or_cannot_be_fetched_is_said_to_be_so(desk: Desk) -> None:
    desk.assign(A)
    desk.broker.waiting = {B: desk.reporter._reported_s}
    desk.broker.replicas.failing = lambda _partition, _now_s: (305.0, "it has no leader")
    assert stuck(desk) == (
        "images[0] cannot be fetched for 305 s: it has no leader",
        "images[1] is assigned and not begun for 301 s: see kafka.start_waits in the log",
    )


def test_the_lag_is_told_as_long_as_it_is_known(desk: Desk) -> None:
    desk.assign(A)
    desk.broker.ends = {A: 7}
    assert lag(desk) is None, "where it begins is not known"
    desk.reporter.begun({A: 3})
    assert lag(desk) == 4
    desk.reporter.forget([A])
    desk.broker.ends = {}
    desk.reporter.begun({A: 3})
    assert lag(desk) is None, "the partition's end is not known: that is no lag of 0"


def test_after_a_standstill_the_lag_is_what_it_was(desk: Desk) -> None:
    desk.assign(A)
    desk.broker.ends = {A: 7}
    desk.finish(desk.open(A, 0))
    desk.cycle()
    assert lag(desk) == 6
    desk.open(A, 1)
    desk.clock.now_s += PATIENCE_S
    desk.cycle()
    desk.finish(*(ticket for _, ticket in desk.ledger.oldest() if ticket is not None))
    desk.cycle()
    assert desk.broker.rewound == [{A: 1}]
    assert lag(desk) == 6
