"""`image-worker offsets`, on a real Apache Kafka: where a group is, and moving it while nobody is at work."""

from __future__ import annotations

import asyncio
import base64
import socket
import struct
import uuid

import pytest
from confluent_kafka import Producer, TopicPartition

from tests.broker.test_bad_clusters import delete_before
from tests.broker.test_delivery import mixed
from tests.broker.test_faults import Member, wait_for
from tests.broker.test_order import done, published, taken
from tests.clusters import PATIENCE_S, Cluster, Topics, event
from tests.replays import Ended, invoke
from tests.workers import running
from worker.kafka.groups import GroupLook
from worker.kafka.ledger import Position
from worker.kafka.progress import Progress

pytestmark = pytest.mark.broker


def rows(ended: Ended) -> dict[str, list[str]]:
    """The table's rows by partition."""
    assert ended.returncode == 0, ended.stderr
    lines = [line.split() for line in ended.stdout.splitlines()]
    return {words[0]: words[1:] for words in lines if words and words[0].isdecimal()}


@pytest.fixture(scope="module")
def filled(broker: Cluster) -> Topics:
    """A topic of four partitions with 20 records each, a second apart, the first of partition 3 deleted."""
    topics = broker.topics()
    early_ms = 1_700_000_000_000
    records = [{**event(n), "partition": n % 4, "timestamp": early_ms + 1000 * (n // 4)} for n in range(80)]
    broker.produce(topics.input, records)
    admin = broker.admin()
    for future in admin.delete_records([TopicPartition(topics.input, 3, 5)]).values():
        future.result(timeout=PATIENCE_S)
    return topics


def offsets(broker: Cluster, topics: Topics, *words: str) -> Ended:
    return invoke(broker, topics, ["offsets", *words])


async def test_a_group_is_shown_with_its_members_and_not_moved_while_it_has_any(broker: Cluster) -> None:
    topics = broker.topics()
    broker.produce(topics.input, mixed(40))
    async with running(broker.settings(topics)):
        await asyncio.to_thread(broker.read, [topics.results, topics.dead_letters], 40)
        shown = await asyncio.to_thread(offsets, broker, topics, "show")
        moved = await asyncio.to_thread(offsets, broker, topics, "set", "--to", "beginning")
    assert f"group {topics.group}: stable, 1 member" in shown.stdout
    assert all("image-worker on 127.0.0.1" in " ".join(row) for row in rows(shown).values())
    assert moved.returncode == 1
    assert moved.stderr.startswith(f"image-worker: group {topics.group} is at work (stable, 1 member: image-worker on")
    assert broker.committed(topics) == broker.ends(topics.input)
    shown = await asyncio.to_thread(offsets, broker, topics, "show")
    ends = broker.ends(topics.input)
    assert rows(shown) == {str(n): [str(end), "0", str(end), "0", "-", "-", "-"] for n, end in ends.items()}


def test_each_kind_of_point_is_committed_with_what_it_skips_or_repeats(broker: Cluster, filled: Topics) -> None:
    for to, at, effect in [
        ("10", "10", ["begins", "here,", "leaves", "out", "10"]),
        ("2023-11-14T22:13:35Z", "15", ["skips", "5"]),
        ("beginning", "0", ["repeats", "15"]),
        ("end", "20", ["skips", "20"]),
        ("2023-12-01", "20", ["nothing"]),
    ]:
        found = rows(offsets(broker, filled, "set", "--to", to, "--partitions", "0,1"))
        assert {number: row[1:] for number, row in found.items()} == {"0": [at, *effect], "1": [at, *effect]}
        assert broker.committed(filled) == {0: int(at), 1: int(at)}


def test_what_comes_of_it_is_added_up(broker: Cluster) -> None:
    topics = broker.topics(partitions=3)
    broker.produce(topics.input, [{**event(n), "partition": n % 3} for n in range(30)])
    for partitions, to in (("0", "2"), ("1", "7")):
        offsets(broker, topics, "set", "--to", to, "--partitions", partitions)
    said = offsets(broker, topics, "set", "--to", "5", "--dry-run").stdout
    assert said.splitlines()[-2].split() == ["all", "-", "-", "skips", "3,", "repeats", "2,", "leaves", "out", "5"]
    total, more = offsets(broker, topics, "show").stdout.splitlines()[-2:]
    assert total.split()[4] == "11", "of the lags that are known"
    assert more == "nothing committed yet: --partitions 2: 10 offsets are there"


def test_where_retention_overtook_a_group_it_is_said(broker: Cluster) -> None:
    topics = broker.topics(partitions=2)
    broker.produce(topics.input, [{**event(n), "partition": n % 2} for n in range(20)])
    offsets(broker, topics, "set", "--to", "2")
    assert "deleted" not in offsets(broker, topics, "show").stdout
    for partition, low in ((0, 5), (1, 1)):
        delete_before(broker, topics.input, partition, low)
    said = offsets(broker, topics, "show")
    assert said.stdout.splitlines()[-1] == "deleted before they were done: 3 offsets: --partitions 0: see `offsets set`"
    assert [row[3] for row in rows(said).values()] == ["5", "8"], "the lag is of what is still there"


def test_who_goes_on_after_retention_as_the_worker_says_publishes_nothing_twice(broker: Cluster) -> None:
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, [event(n) for n in range(12)])
    flags = ("kafka.delivery=exactly-once", "kafka.order=none", "kafka.group_protocol=consumer")
    with Member(broker, topics, *flags) as first:
        tickets = taken(first, 12)
        for offset in (0, 1, 3, 6, 7, 9):
            first.finish(tickets[offset], "first")
        wait_for(lambda: done(broker, topics) == (2, ((3, 4), (6, 8), (9, 10))), "what is done ahead is committed")
    delete_before(broker, topics.input, 0, 6)
    said = offsets(broker, topics, "show").stdout
    assert "deleted before they were done: 3 offsets: --partitions 0" in said, "2, 4 and 5"
    with Member(broker, topics, *flags) as stopped:
        failure = str(stopped.thread.ended.exception(timeout=PATIENCE_S))
    advice = failure.partition("run: image-worker offsets ")[2].split()
    assert rows(offsets(broker, topics, *advice)) == {"0": ["2", "8", "nothing"]}
    assert done(broker, topics) == (8, ((9, 10),))
    with Member(broker, topics, *flags) as second:
        tickets = taken(second, 3)
        assert list(tickets) == [8, 10, 11]
        for ticket in tickets.values():
            second.finish(ticket, "second")
        wait_for(lambda: done(broker, topics) == (12, ()), "all of it is committed")
    assert sorted(published(broker, topics, 9)) == [0, 1, 3, 6, 7, 8, 9, 10, 11]


def test_what_cannot_be_read_or_was_committed_for_another_topic_is_moved_away_from(broker: Cluster) -> None:
    topics = broker.topics(partitions=2)
    broker.produce(topics.input, [{**event(n), "partition": n % 2} for n in range(20)])
    look = GroupLook(broker.settings(topics).kafka, topics.group)
    outlived = Progress(5, topic_id="AAAAAAAAAAAAAAAAAAAAAA")
    look.set(topics.input, {0: Position(5), 1: Position(5, metadata=outlived.metadata)})
    said = offsets(broker, topics, "show").stdout
    assert "committed for a topic of this name that was deleted: --partitions 1: see" in said
    look.set(topics.input, {0: Position(5, metadata="image-worker/9;x=1")})
    assert "what the group has committed cannot be read" in offsets(broker, topics, "show").stderr
    moved = rows(offsets(broker, topics, "set", "--to", "3"))
    assert moved == {"0": ["5", "3", "repeats", "2"], "1": ["-", "3", "begins", "here,", "leaves", "out", "3"]}
    assert "deleted" not in offsets(broker, topics, "show").stdout, "what is committed names the topic of now"


def test_a_group_past_the_end_of_the_log_is_said(broker: Cluster) -> None:
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, [event(n) for n in range(5)])
    GroupLook(broker.settings(topics).kafka, topics.group).set(topics.input, {0: Position(9)})
    said = offsets(broker, topics, "show").stdout.splitlines()[-1]
    assert said == "past the end of the log, which was truncated: --partitions 0: see `offsets set`"


def test_a_time_is_told_as_it_is_understood_and_one_that_is_yet_to_come_is_refused(
    broker: Cluster, filled: Topics
) -> None:
    words = ("--partitions", "0", "--dry-run")
    said = offsets(broker, filled, "set", "--to", "2023-11-14T23:13:35+01:00", *words).stdout
    assert "--to 2023-11-14T23:13:35+01:00 is 2023-11-14T22:13:35Z" in said
    refused = offsets(broker, filled, "set", "--to", "2099-01-01", *words)
    assert refused.returncode == 2
    assert "--to 2099-01-01T00:00:00Z: that is yet to come, it is 20" in refused.stderr


def test_the_end_is_before_a_transaction_that_is_open(broker: Cluster) -> None:
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, [event(n) for n in range(3)])
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": topics.group})
    producer.init_transactions(PATIENCE_S)
    producer.begin_transaction()
    producer.produce(topics.input, **event(3))
    producer.flush(PATIENCE_S)
    assert rows(offsets(broker, topics, "set", "--to", "end"))["0"][:2] == ["-", "3"]
    producer.abort_transaction(PATIENCE_S)


def test_a_dry_run_says_the_same_and_changes_nothing(broker: Cluster, filled: Topics) -> None:
    before = broker.committed(filled)
    said = offsets(broker, filled, "set", "--to", "beginning", "--dry-run")
    assert said.stdout.splitlines()[-1] == f"group {filled.group}: nothing was changed"
    assert rows(said)["3"] == ["-", "5", "begins", "here"]
    assert broker.committed(filled) == before


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["set", "--to", "3"], 2, "--to 3: {topic}[3] has the offsets 5 to 20"),
        (["set", "--to", "99", "--partitions", "0"], 2, "--to 99: {topic}[0] has the offsets 0 to 20"),
        (["set", "--to", "soon"], 2, "--to soon: write beginning, end, an offset, or a time"),
        (["set", "--to", "end", "--partitions", "4"], 2, "--partitions 4: topic {topic} has the partitions 0 to 3"),
        (["set", "--to", "end", "--partitions", ""], 2, "--partitions : write partitions' numbers"),
        (["set", "--to", "end", "--group", ""], 2, "--group: write a group's name"),
        (["set", "--to", "end", "--group", "nobody"], 1, "there is no group nobody"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    broker: Cluster, filled: Topics, words: list[str], code: int, line: str
) -> None:
    before = broker.committed(filled)
    refused = offsets(broker, filled, *words)
    assert refused.returncode == code
    assert [line.format(topic=filled.input) in refused.stderr, refused.stderr.count("\n")] == [True, 1]
    assert broker.committed(filled) == before


def join_share_group(cluster: Cluster, group: str) -> None:
    """Make a group of another kind, by one ShareGroupHeartbeat (KIP-932): confluent-kafka 2.16 has no such consumer."""

    def text(value: str) -> bytes:
        return bytes([len(value) + 1]) + value.encode()

    member = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    head = struct.pack(">hhih", 76, 1, 7, -1) + b"\0"
    body = text(group) + text(member) + struct.pack(">i", 0) + b"\0" + b"\2" + text("nowhere") + b"\0"
    host, port = cluster.bootstrap_servers.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as wire:
        wire.sendall(struct.pack(">i", len(head + body)) + head + body)
        answer = wire.recv(4096)
    size, correlation, _, _, error = struct.unpack_from(">iibih", answer)
    assert (size, correlation, error) == (len(answer) - 4, 7, 0)


def test_a_group_of_another_kind_that_has_the_name_is_said(broker: Cluster) -> None:
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, [event(0)])
    offsets(broker, topics, "show")  # until the group's coordinator is there
    join_share_group(broker, topics.group)
    assert "there is no consumer group of this name" in offsets(broker, topics, "show").stdout
    refused = offsets(broker, topics, "set", "--to", "beginning")
    assert refused.returncode == 1
    assert "(GROUP_ID_NOT_FOUND): a group of another kind (share, streams) may have this name" in refused.stderr


def test_a_topic_that_is_not_there_is_one_line(broker: Cluster) -> None:
    topics = Topics("nowhere", "results", "dead", "group-of-nowhere")
    refused = offsets(broker, topics, "show")
    assert refused.returncode == 1
    assert "topic nowhere: does not exist" in refused.stderr
