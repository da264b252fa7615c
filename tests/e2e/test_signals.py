"""How a worker ends, as a process: signals, and a cluster that is not as it must be."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from structlog.typing import EventDict

from tests.cli import error_line, image_worker
from tests.clusters import PATIENCE_S, Cluster, Topics, event
from tests.e2e.test_health import a_host_that_never_answers
from tests.kafka_server import free_ports
from tests.workers import until, worker_process
from worker.app import Worker
from worker.errors import Fatal
from worker.models.classifier import PixelBatch, ScoreBatch
from worker.testing import FreeClassifier

FAST = "kafka.group_protocol=consumer"


def alive(process: subprocess.Popen[bytes], log: Path) -> bool:
    """True; a process that ended before its time fails the test at once, with what it said."""
    assert process.poll() is None, log.read_text()
    return True


def hanging(port: int, partition: int = 0) -> dict[str, Any]:
    """A record whose image never comes."""
    return {"value": json.dumps({"url": f"http://127.0.0.1:{port}/"}), "partition": partition}


def reach(port: int) -> tuple[str, ...]:
    return (FAST, f"images.ports=[{port}]", "images.allow_networks=['127.0.0.0/8']", "images.read_timeout_s=60")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_what_is_in_flight_and_exits_0(
    embedded: Cluster, tmp_path: Path, number: signal.Signals
) -> None:
    topics = embedded.topics()
    embedded.produce(topics.input, [event(each) for each in range(400)])
    log = tmp_path / "log"
    with worker_process(embedded.flags(topics, FAST, "kafka.settle_interval_ms=0"), log) as process:
        embedded.read([topics.results], 20)
        family = psutil.Process(process.pid).children(recursive=True)
        assert family, "decode processes"
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0
    committed = sum(embedded.committed(topics).values())
    results = embedded.read([topics.results], committed)
    assert len(results) == committed, "what is committed is published, and nothing else is"
    assert "kafka.drain_deadline" not in log.read_text(), "all of it was settled"
    assert "worker.stopped" in log.read_text()
    psutil.wait_procs(family, timeout=PATIENCE_S)
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in family)


async def test_a_stop_before_the_start_is_over_joins_no_group(embedded: Cluster) -> None:
    topics = embedded.topics()
    embedded.produce(topics.input, [event(0)])
    worker = Worker(embedded.settings(topics, FAST), FreeClassifier())
    worker.stop()
    async with asyncio.timeout(PATIENCE_S):
        await worker.run()
    assert worker.metrics.registry.get_sample_value("image_worker_records_total", {"topic": topics.input}) is None
    assert embedded.committed(topics) == {}


async def test_a_record_that_hangs_at_the_signal_is_left_uncommitted_at_the_deadline(
    embedded: Cluster, tmp_path: Path
) -> None:
    topics = embedded.topics()
    log = tmp_path / "log"
    async with a_host_that_never_answers() as (port, _):
        first, last = ({**event(number), "partition": 0} for number in (0, 1))
        embedded.produce(topics.input, [first, hanging(port), last])
        flags = embedded.flags(topics, *reach(port), "kafka.drain_deadline_s=0.5")
        with worker_process(flags, log) as process:
            await until(lambda: alive(process, log) and embedded.committed(topics) == {0: 1}, "the first is settled")
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0
    assert embedded.committed(topics) == {0: 1}
    assert "kafka.drain_deadline" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert len(await asyncio.to_thread(embedded.read, [topics.results], 1)) == 1, "the last one did not overtake"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_leaves_at_once_and_commits_nothing_unfinished(
    embedded: Cluster, tmp_path: Path, number: signal.Signals
) -> None:
    topics = embedded.topics()
    log = tmp_path / "log"
    async with a_host_that_never_answers() as (port, _):
        embedded.produce(topics.input, [{**event(0), "partition": 0}, hanging(port), {**event(1), "partition": 0}])
        flags = embedded.flags(topics, *reach(port), "kafka.drain_deadline_s=200")
        with worker_process(flags, log) as process:
            await until(lambda: alive(process, log) and embedded.committed(topics) == {0: 1}, "the first is settled")
            family = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(number)
            await until(lambda: alive(process, log) and "worker.stopping" in log.read_text(), "it drains")
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, PATIENCE_S) not in (0, None)
    assert embedded.committed(topics) == {0: 1}
    assert embedded.ends(topics.dead_letters) == {}
    await asyncio.to_thread(psutil.wait_procs, family, timeout=PATIENCE_S)
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in family)


class Dying(FreeClassifier):
    """Its device fails when it is told to; before that it hangs."""

    def __init__(self) -> None:
        super().__init__()
        self.armed, self.at_work, self.dies = False, threading.Event(), threading.Event()

    def predict(self, batch: PixelBatch) -> ScoreBatch:
        if self.armed:
            self.at_work.set()
            self.dies.wait()
            raise Fatal("the device failed")
        return super().predict(batch)


async def test_what_fails_in_a_drain_ends_it_for_its_outcome_never_comes(
    embedded: Cluster, logs: list[EventDict]
) -> None:
    topics, model = embedded.topics(), Dying()
    worker = Worker(embedded.settings(topics, FAST, "kafka.drain_deadline_s=240"), model)
    run = asyncio.create_task(worker.run())
    await until(lambda: worker.status()["assignment"] != [], "it has partitions")
    model.armed = True
    embedded.produce(topics.input, [event(1)])
    await until(model.at_work.is_set, "it is at work")
    worker.stop()
    await until(lambda: any(line["event"] == "worker.stopping" for line in logs), "it drains")
    model.dies.set()
    with pytest.raises(Fatal, match="the device failed"):
        await asyncio.wait_for(run, PATIENCE_S)


@pytest.fixture
def ended(tmp_path: Path) -> Iterator[Callable[[list[str]], tuple[int, list[str]]]]:
    """Runs a worker to its end: the exit code, and the lines of its output."""

    def run(flags: list[str]) -> tuple[int, list[str]]:
        log = tmp_path / "log"
        with worker_process([*flags, "observe.log_level=error"], log) as process:
            code = process.wait(PATIENCE_S)
        return code, log.read_text().splitlines()

    return run


@pytest.mark.broker
@pytest.mark.parametrize("missing", ["input", "results", "dead_letters"])
def test_a_missing_topic_is_one_line_and_exit_code_1(
    broker: Cluster, missing: str, ended: Callable[[list[str]], tuple[int, list[str]]]
) -> None:
    topics = broker.topics()
    code, lines = ended(broker.flags(topics, f"kafka.topics.{missing}=nowhere"))
    assert code == 1
    assert len(lines) == 1, lines
    assert lines[0].startswith("free_worker: topic nowhere: does not exist: create it")


@pytest.mark.broker
def test_all_missing_topics_are_named_at_once(
    broker: Cluster, ended: Callable[[list[str]], tuple[int, list[str]]]
) -> None:
    none = Topics("no-input", "no-results", "no-letters", "no-group")
    code, lines = ended(broker.flags(none, "policy.topics.block=no-blocked"))
    assert code == 1
    assert len(lines) == 1, lines
    assert all(name in lines[0] for name in ("no-input", "no-results", "no-letters", "no-blocked"))


def test_a_broker_that_cannot_be_reached_is_one_line_and_exit_code_1() -> None:
    (port,) = free_ports(1)
    flags = [f"kafka.bootstrap_servers=127.0.0.1:{port}", "observe.port=0", "observe.log_level=error"]
    process = image_worker(*(word for flag in flags for word in ("--set", flag)), "run")
    assert process.returncode == 1
    line = error_line(process)
    assert line.startswith(f"image-worker: no Kafka broker answered at 127.0.0.1:{port}: ")
    assert "check kafka.bootstrap_servers" in line
