"""`python -m benchmarks.bombs`: what each bomb of tests/bombs.py costs with the limits, and without any.

Each runs in a process of its own that may take 60 s and 6 GiB: what a cell says of them is where it was stopped.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time

from PIL import PngImagePlugin

from benchmarks.report import machine
from tests.bombs import BOMBS, Bomb
from worker.errors import Rejected
from worker.images import heads
from worker.images.decode import decode, prepare
from worker.images.settings import ImagesSettings
from worker.recipe import InputRecipe

_RECIPE = InputRecipe(224, 224, None, None, 256, 3, True, (1, 1, 1), (0, 0, 0))
_LIMIT_S = 60
_LIMIT_BYTES = 6 << 30
_NONE = {
    "max_pixels": 10**12,
    "max_edge_pixels": 10**9,
    "max_aspect_ratio": 1e9,
    "max_frames": 10**9,
    "max_scan_pixels": 10**15,
}


def main() -> None:
    """Measure all, or in a child process the one that is named, its bytes on stdin."""
    if len(sys.argv) > 1:
        _measure(next(bomb for bomb in BOMBS if bomb.name == sys.argv[1]), sys.argv[2] == "unlimited")
        return
    print(machine())
    print("| Bomb | Setting | Default | Reason | Bytes | Refused after | Without limits |")
    print("|---|---|---|---|---|---|---|")
    for bomb in BOMBS:
        data = bomb.make()
        cells = [*bomb.row(), f"{len(data):,}", _child(bomb, data, "limited"), _child(bomb, data, "unlimited")]
        print(f"| {' | '.join(cells)} |", flush=True)


def _child(bomb: Bomb, data: bytes, how: str) -> str:
    command = [sys.executable, "-m", "benchmarks.bombs", bomb.name, how]
    run = subprocess.run(command, input=data, capture_output=True)
    if run.returncode != 0:
        return f"stopped at {_LIMIT_S} s" if -run.returncode == signal.SIGXCPU else f"ended with {run.returncode}"
    seen = json.loads(run.stdout.splitlines()[-1])
    return f"{seen['milliseconds']:,.0f} ms, {seen['mebibytes']:,} MiB: `{seen['end']}`"


def _switch_off() -> None:
    """The limits that are no settings: of this worker, and of Pillow's."""
    heads._HEAD_SEGMENTS = 10**9
    heads.largest_picture = lambda _: None
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 1 << 40


def _measure(bomb: Bomb, unlimited: bool) -> None:
    limits = ImagesSettings(**bomb.settings | (_NONE if unlimited else {})).limits
    data = sys.stdin.buffer.read()
    prepare(limits)
    if unlimited:
        _switch_off()
    before = _peak_mebibytes()
    resource.setrlimit(resource.RLIMIT_AS, (_LIMIT_BYTES, _LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_LIMIT_S, _LIMIT_S + 5))
    started = time.process_time()
    try:
        decode(data, _RECIPE, limits)
        end = "decoded"
    except Rejected as rejected:
        end = rejected.reason.value
    milliseconds = 1000 * (time.process_time() - started)
    print(json.dumps({"milliseconds": milliseconds, "mebibytes": _peak_mebibytes() - before, "end": end}))


def _peak_mebibytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
