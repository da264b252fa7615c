"""What an operator asks of a replay, on a real Apache Kafka: what is not so is said before anything is done."""

from __future__ import annotations

from dataclasses import replace

import pytest
from confluent_kafka import TopicPartition

from tests.broker.test_bad_clusters import delete_before
from tests.broker.test_delivery import mixed
from tests.broker.test_offsets import rows
from tests.broker.test_replay import ALL, committed
from tests.clusters import PATIENCE_S, Cluster, Topics, event
from tests.replays import invoke, job, other_model, outputs, replayed, run
from worker.errors import Fatal
from worker.kafka.groups import GroupLook
from worker.kafka.ledger import Position
from worker.replay.rehearsal import rehearse
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
    with pytest.raises(Fatal, match="another model, another policy, or other topics for its outcomes"):
        job(broker, ten, mine, model=other_model())
    with pytest.raises(Fatal, match="another model, another policy, or other topics for its outcomes"):
        job(broker, ten, replace(mine, output=ten.results))


@pytest.mark.parametrize(
    ("start", "end"), [("11", "now"), ("2099-01-01", "now"), ("5", "5"), ("0", "1969-12-31T23:59:59.999Z")]
)
def test_a_window_in_which_there_is_nothing_is_said(broker: Cluster, ten: Topics, start: str, end: str) -> None:
    made = job(broker, ten, Request(start, end))
    assert f"there is nothing from {start} to {end}" in made.heading()
    assert "there is nothing" not in job(broker, ten, Request("9", "now")).heading()


async def test_a_dry_run_of_nothing_tells_no_pace(broker: Cluster, ten: Topics) -> None:
    said = dict((await rehearse(job(broker, ten, Request("10", "now"))))._rows())
    assert said["rate"] == "not measured: there is no record in the sample"
    assert "takes" not in said


@pytest.mark.parametrize("option", ["--output", "--dead-letters"])
def test_a_topic_that_is_named_and_missing_is_said_in_a_dry_run_too(broker: Cluster, ten: Topics, option: str) -> None:
    said = invoke(broker, ten, ["replay", "--from", "0", option, "nowhere", "--dry-run"])
    assert (said.returncode, said.stdout) == (2, "")
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
    assert "deleted" not in job(broker, ten, request).heading()
    delete_before(broker, ten.input, 0, 5)
    gone = "partition 0: 3 offsets were deleted before they were done, and the replay stops there: to go on at 5, run: "
    assert (
        f"{gone}image-worker offsets set --group {group} --partitions 0 --to 5" in job(broker, ten, request).heading()
    )
    with pytest.raises(Fatal, match=f"offsets set --group {group} --partitions 0 --to 5$"):
        await replayed(broker, ten, request)
    moved = invoke(broker, ten, ["offsets", "set", "--group", group, "--partitions", "0", "--to", "5"])
    assert rows(moved) == {"0": ["2", "5", "nothing"]}
    assert job(broker, ten, request).plan.spans == {0: (5, 8)}, "it has its end still"
    assert committed(broker, await replayed(broker, ten, request)) == {0: 8}


def test_a_group_of_a_replay_is_moved_in_its_own_partitions_alone_so_that_it_can_go_on(broker: Cluster) -> None:
    topics = broker.topics(partitions=3)
    broker.produce(topics.input, [{**event(n), "partition": n % 3} for n in range(30)])
    request = Request("1", "8", partitions=(1,), id="part")
    made = job(broker, topics, request)
    group = made.plan.settings.kafka.group_id
    begun = made.plan.window().bounds.begin((topics.input, 1))
    assert begun is not None
    GroupLook(made.plan.settings.kafka, group).set(topics.input, {1: Position(4, metadata=begun.metadata)})
    delete_before(broker, topics.input, 2, 5)
    moved = invoke(broker, topics, ["offsets", "set", "--group", group, "--to", "3"])
    assert rows(moved) == {"1": ["4", "3", "repeats", "1"]}
    assert "left out: --partitions 0,2: the replay of this group has no window there" in moved.stdout
    assert job(broker, topics, request).plan.spans == {1: (3, 8)}
    for named, others in (("0-2", "0,2"), ("0", "0")):
        refused = invoke(broker, topics, ["offsets", "set", "--group", group, "--to", "6", "--partitions", named])
        assert refused.returncode == 2
        assert f"--partitions {others}: group {group} is that of a replay, which has no window there" in refused.stderr
    assert job(broker, topics, request).plan.spans == {1: (3, 8)}
    outlived = replace(begun, topic_id="AAAAAAAAAAAAAAAAAAAAAA")
    GroupLook(made.plan.settings.kafka, group).set(topics.input, {1: Position(4, metadata=outlived.metadata)})
    refused = invoke(broker, topics, ["offsets", "set", "--group", group, "--to", "6"])
    assert "--partitions 0,1,2: group" in refused.stderr, "the topic was made again, and the replay is over"


def test_a_dry_run_says_what_it_would_be_and_changes_nothing(broker: Cluster) -> None:
    topics = broker.topics()
    broker.produce(topics.input, mixed(100))
    admin = broker.admin()
    before = set(admin.list_topics(timeout=PATIENCE_S).topics)
    said = run(broker, topics, ["replay", "--from", "beginning", "--dry-run"])
    assert said.returncode == 0, said.stderr
    assert "100 at most, about 100, by a sample of 100" in said.stdout
    assert f"into {topics.results}.replay." in said.stdout
    assert set(admin.list_topics(timeout=PATIENCE_S).topics) - {"__consumer_offsets"} == before - {"__consumer_offsets"}
    groups = admin.list_consumer_groups().result(timeout=PATIENCE_S).valid
    assert not [group.group_id for group in groups if group.group_id.startswith(topics.group)]


async def test_an_id_that_was_used_for_another_window_is_refused(broker: Cluster) -> None:
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, mixed(10))
    await replayed(broker, topics, Request("0", "5", id="mine"))
    with pytest.raises(Fatal, match="a replay of this id has another --from, --to or --partitions"):
        job(broker, topics, Request("0", "6", id="mine"))
    with pytest.raises(Fatal, match="another policy"):
        job(broker, topics, Request("0", "5", id="mine"), "policy.thresholds.a.block=0.5")
    look = GroupLook(broker.settings(topics).kafka, f"{topics.group}.replay.mine")
    look.set(topics.input, {0: Position(2)})
    with pytest.raises(Fatal, match="offsets that no replay committed"):
        job(broker, topics, Request("0", "5", id="mine"))


async def test_an_id_that_is_used_for_other_partitions_is_refused_before_anything_is_done(broker: Cluster) -> None:
    topics = broker.topics(partitions=2)
    broker.produce(topics.input, [{**event(n), "partition": n % 2} for n in range(10)])
    await replayed(broker, topics, Request("0", "5", (0,), id="mine"))
    with pytest.raises(Fatal, match="a replay of this id has another --from, --to or --partitions"):
        job(broker, topics, Request("0", "5", (1,), id="mine"))


async def test_of_two_that_begin_at_once_under_one_id_with_different_ends_none_says_that_it_is_done(
    broker: Cluster,
) -> None:
    topics = broker.topics(partitions=2)
    broker.produce(topics.input, [{**event(n), "partition": n % 2} for n in range(20)])
    made, other = job(broker, topics, Request("0", "5", id="x")), job(broker, topics, Request("0", "6", id="x"))
    theirs = other.plan.window().bounds.begin((topics.input, 1))
    assert theirs is not None
    look = GroupLook(made.plan.settings.kafka, made.plan.settings.kafka.group_id)
    look.set(topics.input, {1: Position(6, metadata=replace(theirs, base=6).metadata)})
    made.make_topics()
    worker, standing = made.worker()
    with pytest.raises(Fatal, match="a replay of this id has another --from, --to or --partitions"):
        await worker.run()
    assert not standing.complete


@pytest.mark.parametrize("base", [5, 7])
async def test_a_partition_that_is_done_is_not_read_though_retention_has_passed_its_end(
    broker: Cluster, base: int
) -> None:
    """`base` 7: moved there by a command that an operator was told."""
    topics = broker.topics(partitions=2)
    broker.produce(topics.input, [{**event(n), "partition": n % 2} for n in range(20)])
    request = Request("2", "5", id="mine")
    made = job(broker, topics, request)
    begun = made.plan.window().bounds.begin((topics.input, 0))
    assert begun is not None
    look = GroupLook(made.plan.settings.kafka, made.plan.settings.kafka.group_id)
    look.set(topics.input, {0: Position(base, metadata=replace(begun, base=base).metadata)})
    delete_before(broker, topics.input, 0, 7)
    assert job(broker, topics, request).plan.spans == {0: (base, 5), 1: (2, 5)}, "the other one is begun all the same"
    assert committed(broker, await replayed(broker, topics, request)) == {0: base, 1: 5}


def test_an_end_that_is_yet_to_come_is_said(broker: Cluster, ten: Topics) -> None:
    assert "--to 2099-01-01 is yet to come" in job(broker, ten, Request("0", "2099-01-01")).heading()
    assert "yet to come" not in job(broker, ten, Request("0", "2020-01-01")).heading()


def test_what_is_asked_for_is_told_as_it_is_understood(broker: Cluster, ten: Topics) -> None:
    said = job(broker, ten, Request("2023-11-14T23:13:25+01:00", "1769817600000")).heading()
    assert "from 2023-11-14T22:13:25Z to offset 1769817600000" in said
    assert "--to 1769817600000 is an offset, past the end of 1 partitions: a time is written 2026-" in said
    assert "past the end" not in job(broker, ten, Request("0", "10")).heading()


async def test_what_another_replay_of_its_id_has_left_in_its_topic_is_said(broker: Cluster, ten: Topics) -> None:
    """The cluster forgets a group's offsets in time, and with them whose the outcomes are."""
    mine = replace(ALL, id="mine")
    made = await replayed(broker, ten, mine)
    assert "records already" not in job(broker, ten, mine).heading(), "it is known"
    group = made.plan.settings.kafka.group_id
    admin = broker.admin()
    admin.delete_consumer_groups([group])[group].result(timeout=PATIENCE_S)
    made = job(broker, ten, mine)
    assert f"{outputs(made)[0]} has 10 records already, of a replay of this id" in made.heading()
    assert "records already" not in job(broker, ten, replace(mine, output=ten.results)).heading()


def test_live_topics_that_are_missing_are_named_as_such(broker: Cluster, ten: Topics) -> None:
    made = job(broker, ten, ALL, "kafka.topics.results=nowhere")
    with pytest.raises(Fatal, match="topic nowhere does not exist, like which nowhere"):
        made.make_topics()


def test_a_start_whose_records_are_gone_is_refused_and_the_beginning_is_what_is_there(broker: Cluster) -> None:
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, mixed(20))
    admin = broker.admin()
    for future in admin.delete_records([TopicPartition(topics.input, 0, 12)]).values():
        future.result(timeout=PATIENCE_S)
    with pytest.raises(Fatal, match=r"the offsets 3 to 11 are gone, .* write --from beginning"):
        job(broker, topics, Request("3", "now"))
    assert job(broker, topics, ALL).plan.spans == {0: (12, 20)}
    assert (
        "partition 0 begins at 12: older records of that time may be gone"
        in job(broker, topics, Request("2020-01-01", "now")).heading()
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--from", "9", "--to", "3"], "--from 9 is after --to 3"),
        (["--from", "2026-02-01", "--to", "2026-01-01"], "--from 2026-02-01 is after --to 2026-01-01"),
        (["--from", "yesterday"], "--from yesterday: write beginning, now, an offset, or a time"),
        (["--from", "0", "--id", "a/b"], "--id a/b: write up to 80 letters"),
        (["--from", "0", "--partitions", "0,7"], "--partitions 7: topic {topic} has the partitions 0 to 3"),
        (["--from", "0", "--partitions", "one"], "--partitions one: write partitions' numbers"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(broker: Cluster, words: list[str], line: str) -> None:
    topics = broker.topics()
    given = invoke(broker, topics, ["replay", *words])
    assert given.returncode == 2
    assert [line.format(topic=topics.input) in given.stderr, given.stderr.count("\n")] == [True, 1]
