"""Two of five hosts in trouble of every kind: each event has its one end, and the good hosts' images are classified.

`python -m benchmarks hosts` measures what the trouble costs the good hosts.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

from benchmarks.five_hosts import FAILURES
from benchmarks.hosts import GOOD, five_hosts
from tests.clusters import Cluster, header, jpeg
from tests.workers import running
from worker.errors import Reason

_COUNT = 400
_QUICK = (
    "kafka.group_protocol=consumer",
    'images.allow_networks=["127.0.0.0/8"]',
    "images.max_bytes=1000000",
    "images.total_timeout_s=2",
    "images.read_timeout_s=1",
    "images.retries=1",
    "images.retry_base_s=0.01",
)


async def test_each_event_of_five_hosts_ends_once_and_good_hosts_lose_none(embedded: Cluster, tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number * 60))
    topics = embedded.topics()
    with five_hosts(tmp_path) as places:
        events = places.events(_COUNT, trouble=True)
        kinds = {event["id"]: event["id"].split()[1] for event in events}
        assert set(kinds.values()) == {"good", *FAILURES}, "every kind of trouble comes up"
        flags = (*_QUICK, f"images.ports=[{places.port}, {places.dead}]")
        embedded.produce(topics.input, [{"key": each["id"], "value": json.dumps(each)} for each in events])
        async with running(embedded.settings(topics, *flags)):
            seen = await asyncio.to_thread(embedded.read, [topics.results, topics.dead_letters], _COUNT)
    letters = {(m.key() or b"").decode(): header(m, "image-worker.reason") for m in seen if m.topic() != topics.results}
    assert Counter((m.key() or b"").decode() for m in seen).most_common(1)[0][1] == 1
    assert {(m.key() or b"").decode() for m in seen} == kinds.keys()
    assert [name for name in letters if name.split()[0] in GOOD] == []
    wrong = {name: reason for name, reason in letters.items() if not _may_be(kinds[name], str(reason))}
    assert wrong == {}


def _may_be(kind: str, reason: str) -> bool:
    """Whether a dead letter's reason is one that its address can have. Any address of a bad host may wait in vain."""
    theirs = frozenset() if kind == "good" else FAILURES[kind][1]
    return reason in {str(each) for each in theirs | {Reason.HOST_UNAVAILABLE, Reason.FETCH_TIMEOUT}}
