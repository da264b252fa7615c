"""`python -m benchmarks.real_worker run KEY=VALUE ...`: `image-worker run` with settings as plain arguments."""

from __future__ import annotations

import sys

from worker.cli import main

flags = [part for flag in sys.argv[2:] for part in ("--set", flag)]
sys.argv = ["image-worker", *flags, sys.argv[1]]
main()
