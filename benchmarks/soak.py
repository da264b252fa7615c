"""`python -m benchmarks.soak [--good N] [--bad N] [--kill-every-s S] [--seed N]`: the whole worker under attack.

A worker with a free model reads good images from the embedded cluster, and among them images that hang a decoder, eat
its memory or are broken; now and then a decode process is killed from outside. It must end in one classification for
each good image and one dead letter for each bad one, in flat memory, with all decode processes standing. Exit code 1 if
it does not.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import psutil
from PIL import Image

from benchmarks.stage import web_server
from tests.clusters import Cluster, Reader, Topics, header
from tests.hostile.conftest import decoders, progressive
from tests.hostile.memory import MIB, Sample, Sampler
from tests.hostile.pieces import Field, with_right_checksums
from tests.workers import worker_process
from worker.errors import Reason
from worker.kafka.embedded import EmbeddedKafka

PROCESSES = 2
_TIMEOUT_S = 0.5
_GOOD_FILES = 40
_KILL_EVERY_S = 2.0
"""An image is blamed for the second process that dies under it. After 2 s the first one's image is long done."""
_PATIENCE_S = 900.0
_STANDS_WITHIN_S = 30.0

HANGS = {str(Reason.DECODE_TIMEOUT), str(Reason.TOO_MANY_SCANS)}
EATS = {str(Reason.BROKEN_IMAGE), str(Reason.DECODE_OUT_OF_MEMORY), str(Reason.DECODE_TIMEOUT)}
BROKEN = {str(Reason.BROKEN_IMAGE), str(Reason.TRUNCATED)}


@dataclass(frozen=True, slots=True)
class Bad:
    """A kind of bad image: its share of all bad ones, and the reasons that it may get."""

    share: float
    reasons: set[str]
    data: bytes


def bad_images() -> dict[str, Bad]:
    """The kinds. Their shares are 1 together."""
    return {
        "hang-1000-scans": Bad(0.03, HANGS, progressive(1000)),
        "hang-40-scans": Bad(0.03, HANGS, progressive(40)),
        "memory-eater": Bad(0.06, EATS, _encoded(Image.new("RGBA", (7000, 7000)), "PNG")),
        "pixel-bomb": Bad(0.25, {str(Reason.TOO_MANY_PIXELS), str(Reason.EDGE_TOO_LONG)}, _bomb()),
        "truncated": Bad(0.25, BROKEN, _photograph(0)[:-3000]),
        "damaged": Bad(0.15, BROKEN, b"\xff\xd8\xff" + random.Random(3).randbytes(2000)),
        "page": Bad(0.12, {str(Reason.NOT_AN_IMAGE)}, b"<!doctype html><title>404</title>"),
        "bitmap": Bad(0.11, {str(Reason.UNSUPPORTED_FORMAT)}, _encoded(Image.new("RGB", (9, 9)), "BMP")),
    }


def _encoded(image: Image.Image, kind: str) -> bytes:
    stream = BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def _bomb() -> bytes:
    """A small PNG whose head declares 60,000 x 60,000 pixels, its checksum right."""
    data = bytearray(_encoded(Image.new("L", (8, 8)), "PNG"))
    for at in (16, 20):
        Field(at, ">I").put(data, 60_000)
    return bytes(with_right_checksums(data))


def _photograph(number: int) -> bytes:
    """A JPEG of the size and work of a usual photograph."""
    noise = Image.effect_noise((250, 188), 60 + number).resize((500, 375))
    return _encoded(noise.convert("RGB"), "JPEG")


@dataclass(slots=True)
class Soak:
    """What came of it."""

    good: int
    bad: int
    classified: Counter[str] = field(default_factory=Counter)
    """Outcomes by id of the image."""
    letters: dict[str, list[str]] = field(default_factory=dict)
    """Reasons of dead letters, by id of the image."""
    samples: list[Sample] = field(default_factory=list)
    kills: int = 0
    standing: int = 0
    """Decode processes at the end."""
    took_s: float = 0.0
    kinds: dict[str, Bad] = field(default_factory=dict)

    @property
    def blamed(self) -> dict[str, list[str]]:
        """Good images that became dead letters."""
        return {name: reasons for name, reasons in self.letters.items() if kind(name) == "good"}

    @property
    def misnamed(self) -> dict[str, list[str]]:
        """Bad images whose reason is not theirs."""
        bad = {name: reasons for name, reasons in self.letters.items() if kind(name) != "good"}
        return {name: reasons for name, reasons in bad.items() if not set(reasons) <= self.kinds[kind(name)].reasons}

    @property
    def growth(self) -> float:
        """The memory that stays in the last third of the time, over that in the first."""
        first, _, last = self.thirds()
        return last / first

    def thirds(self) -> list[float]:
        """The memory that stays, by thirds of the time: the lower quartile, which no single image's pixels are in."""
        edges = [round(len(self.samples) * part / 3) for part in range(4)]
        parts = [self.samples[start:end] for start, end in pairwise(edges)]
        return [statistics.quantiles([each.family for each in part], n=4)[0] for part in parts]

    def of_the_worker(self) -> list[int]:
        """The memory of the worker's own process, by thirds of the time: what it had at the end of each."""
        return [self.samples[round(len(self.samples) * part / 3) - 1].own for part in (1, 2, 3)]

    def broken_promises(self) -> list[str]:
        """What did not come as it must."""
        twice = [name for name, count in self.classified.items() if count > 1]
        twice += [name for name, reasons in self.letters.items() if len(reasons) > 1]
        found = {
            f"{len(self.classified)} classifications, not {self.good}": len(self.classified) != self.good,
            f"{len(self.letters)} dead letters, not {self.bad}": len(self.letters) != self.bad,
            f"good images in dead letters: {self.blamed}": bool(self.blamed),
            f"bad images with another reason: {self.misnamed}": bool(self.misnamed),
            f"more than one outcome: {twice}": bool(twice),
            f"memory is {self.growth:.2f} times what it was": self.growth > 1.15,
            f"{self.standing} decode processes stand, not {PROCESSES}": self.standing != PROCESSES,
        }
        return [text for text, is_so in found.items() if is_so]


def kind(name: str) -> str:
    """The kind of an image, of its id."""
    return name.rpartition("-")[0]


def soak(good: int, bad: int, seed: int = 1, kill_every_s: float = _KILL_EVERY_S) -> Soak:
    """Run it; returns when every image has its outcome and the decode processes stand again."""
    found = Soak(good, bad, kinds=bad_images())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="image-worker-soak-")))
        _write(folder, found.kinds)
        port = stack.enter_context(web_server(folder))
        kafka = stack.enter_context(EmbeddedKafka())
        cluster = Cluster(kafka.bootstrap_servers, real=False, embedded_create=kafka.create)
        topics = cluster.topics()
        names = _names(found, random.Random(seed))
        cluster.produce(topics.input, (_event(name, port) for name in names))
        process = stack.enter_context(worker_process(_flags(cluster, topics, port), _log()))
        _watch(found, cluster, topics, process, random.Random(seed), kill_every_s)
    return found


def _write(folder: Path, kinds: dict[str, Bad]) -> None:
    for number in range(_GOOD_FILES):
        (folder / f"good-{number}").write_bytes(_photograph(number))
    for name, bad in kinds.items():
        (folder / name).write_bytes(bad.data)


def _names(found: Soak, rng: random.Random) -> list[str]:
    """An id for each image, in random order."""
    names = [f"good-{number}" for number in range(found.good)]
    kinds = [name for name, bad in found.kinds.items() for _ in range(round(bad.share * found.bad))]
    names += [f"{name}-{number}" for number, name in enumerate(kinds)]
    assert len(names) == found.good + found.bad, "the number of bad images is no multiple of 100"
    rng.shuffle(names)
    return names


def _event(name: str, port: int) -> dict[str, str]:
    file = f"good-{int(name.rpartition('-')[2]) % _GOOD_FILES}" if kind(name) == "good" else kind(name)
    return {"key": name, "value": json.dumps({"url": f"http://127.0.0.1:{port}/{file}", "id": name})}


def _flags(cluster: Cluster, topics: Topics, port: int) -> list[str]:
    return [
        *cluster.flags(topics, "kafka.group_protocol=consumer"),
        f"images.ports=[{port}]",
        'images.allow_networks=["127.0.0.0/8"]',
        f"images.decode_processes={PROCESSES}",
        f"images.decode_timeout_s={_TIMEOUT_S}",
        "images.decode_memory_bytes=268435456",
        "images.max_scan_pixels=2000000000",  # of the two that hang, the lesser one is to do so
    ]


def _log() -> Path:
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    return results / "soak.log"


def _watch(
    found: Soak,
    cluster: Cluster,
    topics: Topics,
    process: subprocess.Popen[bytes],
    rng: random.Random,
    kill_every_s: float,
) -> None:
    """Read outcomes until all are there, while memory is sampled and decode processes are killed."""
    total = found.good + found.bad
    with Reader(cluster, [topics.results, topics.dead_letters]) as reader:
        reader.until(max(1, total // 50), _PATIENCE_S)  # what comes before is the start
        started_s = time.monotonic()
        with Sampler(psutil.Process(process.pid)) as sampler, Killer(process.pid, rng, kill_every_s) as killer:
            for tenth in range(1, 11):
                reader.until(total * tenth // 10, _PATIENCE_S)
                print(f"  {tenth * 10:3} %: {sampler.samples[-1].family / MIB:.0f} MiB", flush=True)
        found.took_s = time.monotonic() - started_s
        for message in reader.rest():
            name = (message.key() or b"").decode()
            if message.topic() == topics.results:
                found.classified[name] += 1
            else:
                found.letters.setdefault(name, []).append(header(message, "image-worker.reason") or "")
    found.samples, found.kills = sampler.samples, killer.kills
    found.standing = _standing(process.pid)
    assert process.poll() is None, "the worker died"


def _standing(worker: int) -> int:
    """How many decode processes there are, once they are as many as must be or cannot be waited for any longer."""
    deadline_s = time.monotonic() + _STANDS_WITHIN_S
    while len(decoders(worker)) != PROCESSES and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return len(decoders(worker))


class Killer:
    """Kills a decode process of a worker now and then, at moments drawn at random. As a context, in a thread."""

    def __init__(self, worker: int, rng: random.Random, every_s: float) -> None:
        self.kills = 0
        self._worker = worker
        self._rng = rng
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._kill, name="killer")

    def __enter__(self) -> Killer:
        while not self.kills:  # one at least, however soon all is over
            self._kill_one()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _kill(self) -> None:
        while not self._ended.wait(self._every_s * self._rng.uniform(1.0, 1.5)):
            self._kill_one()

    def _kill_one(self) -> None:
        if alive := decoders(self._worker):
            with suppress(psutil.NoSuchProcess):
                self._rng.choice(alive).kill()
                self.kills += 1


def table(found: Soak) -> list[str]:
    """What there is to show."""
    reasons = Counter((kind(name), reason) for name, all_ in found.letters.items() for reason in all_)
    return [
        f"{len(found.classified)} classifications of {found.good}, {len(found.letters)} dead letters of {found.bad}",
        f"{(found.good + found.bad) / found.took_s:.0f} images/s in {found.took_s:.0f} s",
        *(f"  {name:18} {reason:22} {count:5}" for (name, reason), count in sorted(reasons.items())),
        f"memory that stays, MiB by thirds of the time: {_mib(found.thirds())}, {found.growth:.2f} times;"
        f" at most {max(each.family for each in found.samples) / MIB:.0f}",
        f"the worker's own process, MiB at the end of each third: {_mib(found.of_the_worker())}",
        f"decode processes killed from outside: {found.kills}; standing at the end: {found.standing}",
    ]


def _mib(sizes: Sequence[float]) -> str:
    return ", ".join(f"{size / MIB:.0f}" for size in sizes)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--good", type=int, default=10_000)
    parser.add_argument("--bad", type=int, default=1000)
    parser.add_argument("--kill-every-s", type=float, default=_KILL_EVERY_S)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    found = soak(arguments.good, arguments.bad, arguments.seed, arguments.kill_every_s)
    broken = found.broken_promises()
    print("\n".join([*table(found), *broken, "every promise kept" if not broken else "A PROMISE WAS BROKEN"]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
