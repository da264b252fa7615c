"""Of a worker's log, that of its own process counts."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.chaos import workers as room
from tests.chaos.workers import WorkerProcess, last_line


def run(worker: WorkerProcess) -> None:
    """Start it and wait for its end: its module prints where it is, and is over."""
    worker.start()
    deadline_s = time.monotonic() + 30
    while worker.exited() is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_what_processes_before_it_said_is_not_its_own(tmp_path: Path) -> None:
    log = tmp_path / "w.log"
    log.write_text("no Kafka broker answered\n")
    worker = WorkerProcess("w", "site", ["--user-site"], log)
    run(worker)
    assert "no Kafka broker answered" in log.read_text()
    assert "no Kafka broker answered" not in worker.said()
    assert worker.last_words() == last_line(log.read_text()) != ""


def test_nor_is_that_in_a_log_that_was_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_LOG_BYTES", 10)
    log = tmp_path / "w.log"
    log.write_text("no Kafka broker answered\n")
    worker = WorkerProcess("w", "site", ["--user-site"], log)
    run(worker)
    assert worker.said() == log.read_text() != ""
