"""A replay done by several processes, by one after another that died, or by one that is started again."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.broker.test_delivery import mixed
from tests.broker.test_exactly_once import sources
from tests.broker.test_faults import wait_for
from tests.broker.test_replay import DELIVERIES
from tests.cli import ROOT, environment
from tests.clusters import PATIENCE_S, Cluster, Reader, Topics
from tests.kafka_server import free_ports
from tests.replays import command, run

pytestmark = pytest.mark.broker


@contextmanager
def replay_process(
    cluster: Cluster, topics: Topics, log: Path, words: list[str], *flags: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A replay as a process of its own; killed at the end where it still runs."""
    line = command(cluster, topics, ["replay", *words], *flags)
    with (
        log.open("wb") as sink,
        subprocess.Popen(line, stdout=sink, stderr=sink, env=environment(), cwd=ROOT) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_two_processes_share_one_and_when_one_is_killed_the_other_does_its_part(
    broker: Cluster, tmp_path: Path, delivery: str
) -> None:
    topics = broker.topics()
    broker.produce(topics.input, mixed(900))
    flags = (f"kafka.delivery={delivery}", "kafka.transaction_timeout_s=2", "kafka.group_protocol=consumer")
    words = ["--from", "beginning", "--to", "200", "--id", "shared", "--rate", "100"]
    broker.create(*(twin := [f"{name}.replay.shared" for name in (topics.results, topics.dead_letters)]))
    logs = [tmp_path / "first", tmp_path / "second"]
    with (
        Reader(broker, twin) as reader,
        replay_process(broker, topics, logs[0], words, *flags) as first,
        replay_process(broker, topics, logs[1], words, *flags) as second,
    ):
        wait_for(lambda: all(b'"settled"' in log.read_bytes() for log in logs), "both are at work")
        assert first.poll() is second.poll() is None, "it was over before there was anything to show"
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert second.wait(PATIENCE_S) == 0, logs[1].read_text()
        outcomes = reader.rest()
    wanted = {(number, offset) for number, end in broker.ends(topics.input).items() for offset in range(min(end, 200))}
    assert sources(outcomes).keys() == wanted
    assert all(len(found) == 1 for found in reader.ids.values()), "a repeat has another id"
    if delivery == "exactly-once":
        assert len(outcomes) == len(wanted)
    again = run(broker, topics, ["replay", *words], *flags)
    assert (again.returncode, again.stdout.splitlines()[-1]) == (
        0,
        "replay shared is done already; another --id does it again",
    )


def test_stopped_and_started_again_it_goes_on(broker: Cluster, tmp_path: Path) -> None:
    topics = broker.topics()
    broker.produce(topics.input, mixed(320))
    words = ["--from", "beginning", "--to", "60", "--rate", "60"]
    (port,) = free_ports(1)
    line = command(broker, topics, ["replay", *words], f"observe.port={port}")
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True)
    assert process.stdout is not None
    name = process.stdout.readline().split()[1]
    twins = [f"{topic}.replay.{name}" for topic in (topics.results, topics.dead_letters)]
    admin = broker.admin()
    while not set(twins) <= admin.list_topics(timeout=PATIENCE_S).topics.keys():
        assert process.poll() is None
    with Reader(broker, twins) as reader:
        reader.until(60)
        status = requests.get(f"http://127.0.0.1:{port}/status", timeout=PATIENCE_S).json()
        assert status["provenance"]["source"] == "free", "as a live worker's"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 1
        assert "offsets left: the same command goes on with it" in errors.splitlines()[-1]
        assert run(broker, topics, ["replay", *words]).returncode == 0
        outcomes = reader.rest()
    assert len(outcomes) == len(sources(outcomes)) == sum(min(end, 60) for end in broker.ends(topics.input).values())
