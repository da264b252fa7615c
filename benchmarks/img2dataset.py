"""Against img2dataset: images a second of fetch, decode and resize, same nginx, same photographs, two processes each.

img2dataset resizes to the same shorter edge of 256, with OpenCV's filter of areas, which is its default and cheaper
than bicubic, encodes the result again and writes it to tar files; ours gives pixels. So it runs once with the encoding
that it has by default and with cheaper ones, and with the number of threads that is best for it. Its rate is from the
start of its first shard to the end of its last, and its CPU time is less that of a run over eight images: the seconds
in which it starts do not count.

It lives in an environment of its own: the one whose Python IMG2DATASET_PYTHON names, or one that is made on the first
run below ~/.cache/image-worker.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import exact
from benchmarks.chain import PROCESSES, Spent, ours, spend
from benchmarks.nginx import Server, server
from benchmarks.report import Report
from benchmarks.stage import corpus

VERSION = "1.47.0"
_AT_ONCE = 32
_ROUNDS = 5
_THREADS = (16, 32, 128)
_FEW = 8
_ALWAYS = {
    "output_format": "webdataset",
    "image_size": 256,
    "resize_mode": "keep_ratio",
    "extract_exif": False,
    "enable_wandb": False,
}
"""Tar files are faster than single ones; no EXIF is read; the rest is what comes nearest to the same work."""
_WAYS: Mapping[str, Mapping[str, object]] = {
    "JPEG 95, its default": {},
    "JPEG 50": {"encode_quality": 50},
    "PNG, not compressed": {"encode_format": "png", "encode_quality": 0},
}
_AS_IT_COMES = {"processes_count": 1, "thread_count": 256, "output_format": "files", "resize_mode": "border"}


def run(quick: bool) -> Report:
    python = _python(make=not quick)
    if python is None:
        return _absent(quick)
    count, rounds = (400, 1) if quick else (1500, _ROUNDS)
    with server(corpus() / "imagenet-sample") as web:
        threads = max(_THREADS, key=lambda number: _theirs(python, web, count, thread_count=number).rate)
        start_s = min(_theirs(python, web, _FEW, thread_count=threads).cpu_s for _ in range(2))
        spent: dict[str, list[Spent]] = {}
        for number in range(rounds):
            for side, one in _round(python, web, count, threads, start_s).items():
                spent.setdefault(side, []).append(one)
            shown = ", ".join(f"{side} {each[-1].rate:.0f}" for side, each in spent.items())
            print(f"  round {number + 1}, images/s: {shown}", flush=True)
        as_it_comes = _theirs(python, web, count, **_AS_IT_COMES).rate
    rates = {side: statistics.median(one.rate for one in each) for side, each in spent.items()}
    cpu = {side: statistics.median(one.ms for one in each) for side, each in spent.items()}
    ratio = rates["ours"] / max(rates[way] for way in _WAYS)
    return Report(
        "against img2dataset",
        f"{ratio:.2f} times the images/s of its best",
        ">= 2.5",
        ratio >= 2.5,
        {
            "img2dataset": f"{VERSION}, {PROCESSES} processes of {threads} threads (the best of {_THREADS})",
            "web server": web.what,
            "images in each round": count,
            **{f"{side}: images/s, ms of CPU": f"{rates[side]:.0f}, {cpu[side]:.2f}" for side in spent},
            **{f"ratio to {way}, images/s": round(rates["ours"] / rates[way], 2) for way in _WAYS},
            **{f"ratio to {way}, CPU": round(cpu[way] / cpu["ours"], 2) for way in _WAYS},
            "as it comes (1 process, files), images/s": round(as_it_comes),
            "ratio to it as it comes": round(rates["ours"] / as_it_comes, 2),
        },
    )


def _absent(quick: bool) -> Report:
    why = "its environment is made by the full form" if quick else "it cannot be installed here"
    return Report("against img2dataset", f"not measured: {why}", ">= 2.5", None)


def _round(python: Path, web: Server, count: int, threads: int, start_s: float) -> dict[str, Spent]:
    """What every side took."""
    spent = {"ours": asyncio.run(_ours(web, count)), "ours, exact": asyncio.run(_ours(web, count, **exact.SETTINGS))}
    for way, options in _WAYS.items():
        one = _theirs(python, web, count, thread_count=threads, **options)
        spent[way] = Spent(count, one.cpu_s - start_s, one.wall_s)
    return spent


async def _ours(web: Server, count: int, **settings: Any) -> Spent:
    addresses = web.addresses()
    async with ours(web.port, **settings) as carry:
        await spend(carry, addresses, len(addresses), _AT_ONCE)
        return await spend(carry, addresses, count, _AT_ONCE)


def _theirs(python: Path, web: Server, count: int, **options: object) -> Spent:
    """What img2dataset took: the time by its own account of its shards, the CPU with that of its start."""
    addresses = web.addresses()
    before_s = _children_s()
    with tempfile.TemporaryDirectory(prefix="image-worker-img2dataset-") as folder:
        listed = Path(folder, "urls.txt")
        listed.write_text("".join(f"{addresses[number % len(addresses)]}?{number}\n" for number in range(count)))
        shards = {"processes_count": PROCESSES, "number_sample_per_shard": -(-count // (4 * PROCESSES))}
        where = {"url_list": listed, "output_folder": Path(folder, "out")}
        flags = [f"--{key}={value}" for key, value in ({**_ALWAYS, **shards, **where} | options).items()]
        environment = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}
        program = "import fire, img2dataset; fire.Fire(img2dataset.download)"
        subprocess.run([python, "-c", program, *flags], env=environment, check=True, capture_output=True)
        accounts = [json.loads(path.read_text()) for path in Path(folder, "out").glob("*_stats.json")]
    done = sum(account["successes"] for account in accounts)
    if done != count:
        sys.exit(f"benchmarks: img2dataset did {done} images of {count}")
    took_s = max(account["end_time"] for account in accounts) - min(account["start_time"] for account in accounts)
    return Spent(count, _children_s() - before_s, took_s)


def _children_s() -> float:
    """CPU seconds of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _python(*, make: bool) -> Path | None:
    """The Python of an environment with img2dataset; None where there is none and none can be made."""
    if named := os.environ.get("IMG2DATASET_PYTHON"):
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "image-worker" / f"img2dataset-{VERSION}"
    ready = folder / "installed"
    if not ready.exists() and make:
        print(f"  installing img2dataset {VERSION} in {folder} ...", flush=True)
        commands = (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(folder / "bin/python"), "-m", "pip", "install", "-q", f"img2dataset=={VERSION}"],
        )
        if all(subprocess.run(command).returncode == 0 for command in commands):
            ready.touch()
    return folder / "bin/python" if ready.exists() else None
