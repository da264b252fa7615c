"""The workers of one group: real processes that are killed, stopped, frozen, and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.clusters import Cluster, Topics

_ROOT = Path(__file__).parents[2]
_LOG_BYTES = 32 * 2**20
"""A worker's log as long as this is put aside at the next start; the one put aside before it goes."""

SESSION_MS, POLL_INTERVAL_MS = 6000, 7000


@dataclass(frozen=True, slots=True, order=True)
class Combination:
    """What is tried in a group."""

    delivery: str
    protocol: str
    order: str = "source"
    is_replay: bool = False
    """Of the group that is the same but for this."""

    def __str__(self) -> str:
        order, replay = ", no order" if self.order == "none" else "", ", replay" if self.is_replay else ""
        return f"{self.delivery}, {self.protocol}{order}{replay}"

    @property
    def exactly_once(self) -> bool:
        return self.delivery == "exactly-once"

    @property
    def allowed(self) -> frozenset[str]:
        """What the verifier counts and the worker never promised."""
        repeats: set[str] = set() if self.exactly_once else {"repeated", "held_back"}
        return frozenset(repeats | ({"out_of_order"} if self.order == "none" else set()))

    def flags(self, cluster: Cluster, topics: Topics, port: int, name: str) -> list[str]:
        """Settings of one of its workers. Short patience throughout, so that a fault's outcome is seen in seconds."""
        session = [
            f'kafka.consumer_properties."session.timeout.ms"={SESSION_MS}',
            'kafka.consumer_properties."heartbeat.interval.ms"=1000',
        ]
        flags = [flag for flag in cluster.flags(topics) if "session.timeout" not in flag]
        return [
            *flags,
            *(session if self.protocol == "classic" else []),
            f'kafka.consumer_properties."max.poll.interval.ms"={POLL_INTERVAL_MS}',
            f"kafka.group_protocol={self.protocol}",
            f"kafka.delivery={self.delivery}",
            f"kafka.order={self.order}",
            f"kafka.transactional_id={name}",
            f'kafka.properties."client.id"="{name}"',
            "kafka.drain_deadline_s=3",
            f"images.ports=[{port}]",
            'images.allow_networks=["127.0.0.0/8"]',
            # A host that fails is waited for, as far as its budget of retries goes.
            "images.total_timeout_s=120",
            "images.host_wait_s=120",
            # The other hosts are to answer each time, on a machine that is overrun, too: see FICKLE in hosts.py.
            "images.read_timeout_s=60",
            "images.retries=20",
            "images.retry_base_s=0.1",
            # A worker that stands still ends, with its stack in the log: what it must never do.
            "observe.stuck_after_s=30",
            "observe.log_format=json",
        ]


class WorkerProcess:
    """One worker, in one process after the other."""

    def __init__(self, name: str, module: str, words: list[str], log: Path) -> None:
        self.name = name
        self._command = [sys.executable, "-m", module, *words]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._log_from = 0
        """Where the log of the process begins: before it is what those before it said."""

    def start(self) -> None:
        assert self.exited() is not None
        if self._log.exists() and self._log.stat().st_size > _LOG_BYTES:
            self._log.rename(self._log.with_suffix(".before.log"))
        self._log_from = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=_ROOT, stdout=log, stderr=log, env={**os.environ})

    def exited(self) -> int | None:
        """The exit code; None while it runs."""
        return -1 if self._process is None else self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """To the worker's own process; those below it end or wait with it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def said(self) -> str:
        """What its process logged, since it was started."""
        with self._log.open("rb") as log:
            log.seek(self._log_from)
            return log.read().decode("utf-8", "replace")

    def last_words(self) -> str:
        """The last line of that."""
        return last_line(self.said())


def last_line(said: str) -> str:
    return said.strip().rpartition("\n")[2]
