"""Headers that no worker can read, on a real Apache Kafka."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from structlog.typing import EventDict

from tests.cli import ROOT, environment
from tests.clusters import PATIENCE_S, Cluster, event, source_of
from tests.foreign_producer import produce_with_header
from tests.workers import running, until

pytestmark = pytest.mark.broker

NO_NAME = b"\xff\xfe"
CRASHES = """
import sys
from confluent_kafka import Consumer
consumer = Consumer({"bootstrap.servers": sys.argv[1], "group.id": sys.argv[2], "auto.offset.reset": "earliest"})
consumer.subscribe([sys.argv[2]])
def names(message):
    try:
        return [name for name, _ in message.headers() or ()]
    except SystemError:
        return []
left = int(sys.argv[3])
while left:
    if (message := consumer.poll(1.0)) is not None:
        names(message)
        left -= 1
"""


def test_a_program_that_reads_the_headers_of_many_records_crashes_at_one_without_a_name_in_utf_8(
    broker: Cluster,
) -> None:
    """A fault of confluent-kafka 2.16. Where this test fails, `messages.py` need not know of it."""
    topics = broker.topics(partitions=1)
    with_headers = [{**event(n), "headers": [("a", b"b")]} for n in range(300)]
    broker.produce(topics.input, with_headers)
    produce_with_header(broker.bootstrap_servers, topics.input, 0, b"{}", NO_NAME)
    command = [sys.executable, "-c", CRASHES, broker.bootstrap_servers, topics.input, "301"]
    ended = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, cwd=ROOT, env=environment())
    assert ended.returncode < 0, "a signal"


@pytest.mark.parametrize("before", [0, 300])
async def test_a_record_with_such_a_header_is_done_without_its_headers_and_what_follows_it_too(
    broker: Cluster, before: int, logs: list[EventDict]
) -> None:
    """After a few hundred records Python calls what it calls often in another way."""
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, [{**event(n), "headers": [("a", b"b")]} for n in range(before)])
    value = event(before)["value"]
    assert isinstance(value, bytes | str)
    raw = value if isinstance(value, bytes) else value.encode()
    produce_with_header(broker.bootstrap_servers, topics.input, 0, raw, NO_NAME)
    broker.produce(topics.input, [event(n) for n in range(before + 1, before + 11)])
    count = before + 11
    async with running(broker.settings(topics)):
        seen = await asyncio.to_thread(broker.read, [topics.results, topics.dead_letters], count)
        await until(lambda: broker.committed(topics) == {0: count}, "all is committed")
    assert sorted(source_of(message)[1] for message in seen) == list(range(count))
    said = [line["record"] for line in logs if line["event"] == "record.headers_unreadable"]
    assert said == [f"{topics.input}[0]@{before}"]
