"""`python -m benchmarks [NAME ...] [--quick]`: run the benchmarks, all of them where none is named."""

from __future__ import annotations

import argparse
from contextlib import nullcontext

from benchmarks import (
    backends,
    calibrated,
    cost,
    cuda,
    decode_parent,
    delivery,
    guarded,
    hosts,
    img2dataset,
    large,
    latency,
    memory,
    model_bound,
    order,
    overhead,
    plain,
    preparation,
    refused,
    rolling,
)
from benchmarks.report import Report
from benchmarks.stage import kept

BENCHMARKS = {
    "cost": cost.run,
    "model-bound": model_bound.run,
    "plain": plain.run,
    "latency": latency.run,
    "delivery": delivery.run,
    "order": order.run,
    "memory": memory.run,
    "guarded": guarded.run,
    "img2dataset": img2dataset.run,
    "large": large.run,
    "refused": refused.run,
    "hosts": hosts.run,
    "parent": decode_parent.run,
    "preparation": preparation.run,
    "overhead": overhead.run,
    "calibrated": calibrated.run,
    "backends": backends.run,
    "cuda": cuda.run,
    "rolling": rolling.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: it runs, no more")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    with kept() if arguments.quick else nullcontext():
        reports = [_report(name, arguments.quick) for name in arguments.names or BENCHMARKS]
    print("\n" + "\n".join(report.line() for report in reports))


def _report(name: str, quick: bool) -> Report:
    print(f"\n== {name}", flush=True)
    report = BENCHMARKS[name](quick)
    report.write(name)
    return report


main()
