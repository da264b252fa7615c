"""A part that died or stands still ends the worker with an error and its stack; a stuck record is named."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

import requests

from tests.broker.test_faults import wait_for
from tests.clusters import PATIENCE_S, Cluster, event
from tests.e2e.test_health import a_host_that_never_answers, samples, until_page
from tests.e2e.test_signals import hanging, reach
from tests.kafka_server import free_ports
from tests.workers import running, until, worker_process

FAST = "kafka.group_protocol=consumer"
BRIGHT = 6
"""The number of an event whose image the stuck model hangs at."""
STUCK = {
    "model": "the inference thread has stood still",
    "kafka": "the Kafka thread has stood still",
    "loop": "the event loop has stood still",
}


def test_a_worker_of_which_a_part_stands_still_or_died_leaves_with_an_error_and_its_stack(
    embedded: Cluster, tmp_path: Path
) -> None:
    flags = (FAST, "observe.stuck_after_s=2", "observe.stuck_batch_after_s=2", "observe.log_format=json")
    (port,) = free_ports(1)
    with ExitStack() as stack:
        processes = {}
        for part in (*STUCK, "dead"):
            topics = embedded.topics()
            log = tmp_path / part
            kind = ("tests.stuck_worker", part)
            pages = (f"observe.port={port}",) if part == "kafka" else ()
            processes[part] = stack.enter_context(worker_process(embedded.flags(topics, *flags, *pages), log, kind))
            embedded.produce(topics.input, [event(BRIGHT if part == "model" else 0)])
        wait_for(lambda: "the Kafka thread has stood still for" in not_alive(port), "/livez says so")
        codes = {part: process.wait(PATIENCE_S) for part, process in processes.items()}
    assert codes == dict.fromkeys(processes, 1)
    for part, line in STUCK.items():
        text = (tmp_path / part).read_text()
        assert line in text
        assert "in for_good" in text
    assert "the inference thread died" in (tmp_path / "dead").read_text()


def not_alive(port: int) -> str:
    """What /livez says is wrong."""
    try:
        answer = requests.get(f"http://127.0.0.1:{port}/livez", timeout=PATIENCE_S)
    except requests.ConnectionError:
        return ""
    return answer.text if answer.status_code == 503 else ""


def test_a_model_that_hangs_keeps_no_worker_from_ending_when_it_is_told_to(embedded: Cluster, tmp_path: Path) -> None:
    topics, log = embedded.topics(), tmp_path / "log"
    flags = embedded.flags(topics, FAST, "kafka.drain_deadline_s=0.5")
    with worker_process(flags, log, ("tests.stuck_worker", "model")) as process:
        # Two in one partition: the first is done, and then the model hangs at the other one.
        embedded.produce(topics.input, [{**event(0), "partition": 0}])
        wait_for(lambda: embedded.committed(topics) == {0: 1}, "it works")
        embedded.produce(topics.input, [{**event(BRIGHT), "partition": 0}])
        wait_for(lambda: "the model hangs" in log.read_text(), "it hangs")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert "model.left_behind" in log.read_text()
    assert embedded.committed(topics) == {0: 1}


async def test_a_record_that_is_stuck_is_named_with_its_stage_by_readiness_and_metrics(embedded: Cluster) -> None:
    topics = embedded.topics(partitions=4)
    async with a_host_that_never_answers() as (port, _):
        embedded.produce(topics.input, [hanging(port, partition=2), event(0, partition=1)])
        flags = (*reach(port), "kafka.stuck_after_s=1", "kafka.drain_deadline_s=0.1")
        async with running(embedded.settings(topics, *flags)) as worker:
            await until(lambda: worker.port != 0, "the pages are served")
            text = ""
            while "unsettled" not in text:
                text = await until_page(worker, "readyz", 503)
            stuck = (await samples(worker))["image_worker_stuck_partition"]
    assert f"{topics.input}[2]@0 is unsettled for" in text
    assert "at the stage fetch" in text
    assert stuck == {("2", topics.input): 1.0, **{(n, topics.input): 0.0 for n in ("0", "1", "3")}}
