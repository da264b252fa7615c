"""How much memory processes have, sampled beside whatever else goes on."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass

import psutil

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory at one moment, in bytes."""

    family: int
    """Of a process and all below it; what they share is counted once (PSS)."""
    own: int
    """Resident memory (RSS) of the process itself."""
    largest_child: int
    """Resident memory (RSS) of the largest process below it, its shared pages counted whole."""
    children: int
    """How many processes are below it."""


def sample(process: psutil.Process) -> Sample:
    """The memory now. Processes that end meanwhile are left out."""
    family, largest, children = 0, 0, process.children(recursive=True)
    for each in (process, *children):
        with suppress(psutil.NoSuchProcess):
            family += resident_bytes(each)
            largest = max(largest, each.memory_info().rss if each is not process else 0)
    return Sample(family, process.memory_info().rss, largest, len(children))


def resident_bytes(process: psutil.Process) -> int:
    """Memory of one process, with its share of what it shares (PSS); all of it (RSS) where only root is told that."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.AccessDenied:
        return int(process.memory_info().rss)


class Sampler:
    """Samples in a thread of its own. `with Sampler(process) as sampler: ...; sampler.samples`."""

    def __init__(self, process: psutil.Process, every_s: float = 0.25) -> None:
        self.samples: list[Sample] = []
        self._process = process
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory-sampler")

    def __enter__(self) -> Sampler:
        self.samples.append(sample(self._process))  # one there is, however soon all is over
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.is_set():
            with suppress(psutil.NoSuchProcess):
                self.samples.append(sample(self._process))
            self._ended.wait(self._every_s)

    @property
    def peak_family(self) -> int:
        return max((each.family for each in self.samples), default=0)

    @property
    def peak_child(self) -> int:
        return max((each.largest_child for each in self.samples), default=0)
