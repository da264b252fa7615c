"""What every benchmark stands on: a real broker, a web server with photographs, and a worker as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from tests import kafka_server
from tests.clusters import Cluster, Topics
from tests.hostile.memory import sample

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Stage:
    """The parts, running."""

    cluster: Cluster
    addresses: tuple[str, ...]
    """One for each photograph."""
    folder: Path
    """Of the photographs."""

    def flags(self, topics: Topics, *more: str) -> list[str]:
        """Settings of a worker that may reach the web server here."""
        port = self.addresses[0].split(":")[2].split("/")[0]
        lifted = ['images.allow_networks=["127.0.0.0/8"]', f"images.ports=[{port}]", "images.decode_processes=2"]
        plain = [f for f in self.cluster.flags(topics) if not f.startswith(("events.", "images.", "kafka.consumer"))]
        return [*plain, "kafka.group_protocol=consumer", *lifted, *more]

    def events(self, topics: Topics, count: int) -> None:
        """Events for the photographs in turn."""
        values = [json.dumps({"url": address, "id": str(n)}) for n, address in enumerate(self.addresses)]
        records = ({"key": str(n), "value": values[n % len(values)]} for n in range(count))
        self.cluster.produce(topics.input, records)


_kept: Callable[[], Stage] | None = None


@contextmanager
def kept() -> Iterator[None]:
    """Until it ends every `stage()` is one and the same: to start one takes longer than what a quick benchmark does."""
    global _kept
    with ExitStack() as stack:
        _kept = cache(lambda: stack.enter_context(_started()))
        try:
            yield
        finally:
            _kept = None


@contextmanager
def stage() -> Iterator[Stage]:
    """Start a broker and a web server; end them afterwards."""
    if _kept is not None:
        yield _kept()
        return
    with _started() as parts:
        yield parts


@contextmanager
def _started() -> Iterator[Stage]:
    if (reason := kafka_server.why_not()) is not None:
        sys.exit(f"benchmarks: {reason}")
    folder = corpus() / "imagenet-sample"
    with kafka_server.RealKafka() as kafka, web_server(folder) as port:
        names = sorted(path.name for path in folder.glob("*.JPEG"))
        addresses = tuple(f"http://127.0.0.1:{port}/{name}" for name in names)
        yield Stage(Cluster(kafka.bootstrap_servers, real=True), addresses, folder)


def corpus() -> Path:
    folder = Path(os.environ.get("CORPUS_HOME", ROOT.parent / "shared" / "corpus"))
    if not folder.is_dir():
        sys.exit("benchmarks: no photographs: set CORPUS_HOME to a folder with imagenet-sample/*.JPEG")
    return folder


@contextmanager
def web_server(folder: Path) -> Iterator[int]:
    """An aiohttp server with a folder's files in memory, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.web_server", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


@contextmanager
def worker(flags: list[str], module: str = "tests.free_worker", *, log: str = "worker.log") -> Iterator[psutil.Process]:
    """A worker as a process. `log`: the name of its log, in results."""
    log_folder = ROOT / "benchmarks" / "results"
    log_folder.mkdir(exist_ok=True)
    with (log_folder / log).open("wb") as to:
        process = subprocess.Popen([sys.executable, "-m", module, *flags], cwd=ROOT, stderr=to, stdout=to)
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and all below it."""
    return [process, *process.children(recursive=True)]


def cpu_s(process: psutil.Process) -> float:
    """Seconds of CPU that a process and all below it have used."""
    return sum(sum(each.cpu_times()[:2]) for each in family(process))


def resident_bytes(process: psutil.Process) -> int:
    """Memory of a process and all below it; what they share is counted once (PSS)."""
    return sample(process).family


def wait_until_committed(stage: Stage, topics: Topics, count: int, patience_s: float = 600.0) -> None:
    """Wait until the group has committed so many records."""
    deadline_s = time.monotonic() + patience_s
    while (done := sum(stage.cluster.committed(topics).values())) < count:
        if time.monotonic() > deadline_s:
            sys.exit(f"benchmarks: only {done} of {count} records were done: see its log in benchmarks/results")
        time.sleep(0.2)
