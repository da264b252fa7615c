"""What an operator asks of a replay, on a real Apache Kafka: what is not so is said before anything is done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.broker.test_bad_clusters import delete_before
from tests.broker.test_offsets import rows
from tests.broker.test_replay import ALL, committed
from tests.clusters import Cluster, Topics, event
from tests.replays import invoke, job, other_model, replayed, run
from worker.errors import Fatal
from worker.kafka.groups import GroupLook
from worker.kafka.ledger import Position
from worker.replay.request import Request

pytestmark = pytest.mark.broker


@pytest.fixture
def ten(broker: Cluster) -> Topics:
    """Ten records in one partition, a second apart."""
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, [{**event(n), "timestamp": 1_700_000_000_000 + 1000 * n} for n in range(10)])
    return topics


async def test_an_id_that_was_used_with_another_model_or_other_outputs_is_refused(broker: Cluster, ten: Topics) -> None:
    mine = replace(ALL, id="mine")
    await replayed(broker, ten, mine)
    assert job(broker, ten, mine).plan.complete
    with pytest.raises(Fatal, match="another model, or other topics for its outcomes"):
        job(broker, ten, mine, model=other_model())
    with pytest.raises(Fatal, match="another model, or other topics for its outcomes"):
        job(broker, ten, replace(mine, output=ten.results))


@pytest.mark.parametrize(
    ("start", "end"), [("11", "now"), ("2099-01-01", "now"), ("5", "5"), ("0", "1969-12-31T23:59:59.999Z")]
)
def test_a_window_in_which_there_is_nothing_is_said(broker: Cluster, ten: Topics, start: str, end: str) -> None:
    made = job(broker, ten, Request(start, end))
    assert f"there is nothing from {start} to {end}" in made.heading()
    assert "there is nothing" not in job(broker, ten, Request("9", "now")).heading()


def test_a_dry_run_of_nothing_tells_no_pace(broker: Cluster, ten: Topics) -> None:
    said = run(broker, ten, ["replay", "--from", "10", "--dry-run"])
    assert said.returncode == 0, said.stderr
    assert "not measured: there is no record in the sample" in said.stdout
    assert "takes" not in said.stdout


@pytest.mark.parametrize("option", ["--output", "--dead-letters"])
def test_a_topic_that_is_named_and_missing_is_said_in_a_dry_run_too(broker: Cluster, ten: Topics, option: str) -> None:
    said = invoke(broker, ten, ["replay", "--from", "0", option, "nowhere", "--dry-run"])
    assert (said.returncode, said.stdout) == (1, "")
    assert f"{option} nowhere: there is no such topic" in said.stderr


async def test_where_retention_overtook_a_replay_it_goes_on_by_the_command_that_it_names(
    broker: Cluster, ten: Topics
) -> None:
    request = Request("0", "8", id="late")
    made = job(broker, ten, request)
    group = made.plan.settings.kafka.group_id
    begun = made.plan.window().bounds.begin((ten.input, 0))
    assert begun is not None
    GroupLook(made.plan.settings.kafka, group).set(
        ten.input, {0: Position(2, metadata=replace(begun, base=2).metadata)}
    )
    delete_before(broker, ten.input, 0, 5)
    with pytest.raises(Fatal, match=f"offsets set --group {group} --partitions 0 --to 5$"):
        await replayed(broker, ten, request)
    moved = invoke(broker, ten, ["offsets", "set", "--group", group, "--partitions", "0", "--to", "5"])
    assert rows(moved) == {"0": ["2", "5", "nothing"]}
    assert job(broker, ten, request).plan.spans == {0: (5, 8)}, "it has its end still"
    assert committed(broker, await replayed(broker, ten, request)) == {0: 8}
