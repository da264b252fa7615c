"""`python -m tests.hostile [--seed N] [--count N] [--only N]`: the corpus and its mutations through a real decode pool.

Twice: with the formats of the default settings, and with all. Ends with 1 if any image ended in anything else than
pixels or a reason, or a promise about memory or time was broken; then it says how to make that image again, and leaves
it in a folder.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.hostile.memory import MIB
from tests.hostile.mutations import Mutant, Mutants, Sample, samples
from tests.hostile.trial import Trial, trial
from worker.images.decode_settings import Format

console = Console(width=100)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20_000, help="mutations in each of the two runs")
    parser.add_argument("--only", type=int, help="this mutation alone")
    arguments = parser.parse_args()
    files = samples(_corpus())
    mutants = Mutants(files, arguments.seed, max(arguments.count, (arguments.only or 0) + 1))
    if arguments.only is not None:
        return _report("one mutation", _run([mutants[arguments.only]], 1), arguments.seed)
    failed = _report("the default formats", _run(*_all(files, mutants)), arguments.seed)
    return _report("all formats", _run(*_all(files, mutants), formats=get_args(Format)), arguments.seed) or failed


def _corpus() -> Path:
    home = Path(os.environ.get("CORPUS_HOME", Path(__file__).parents[2].parent / "shared" / "corpus"))
    if not (home / "pillow").is_dir():
        sys.exit("hostile: no corpus: set CORPUS_HOME to a folder with pillow/")
    return home / "pillow"


def _all(files: Sequence[Sample], mutants: Mutants) -> tuple[Iterable[Mutant], int]:
    """The files as they are, then their mutations; and how many these are."""
    as_they_are = (Mutant(sample.name, sample.data) for sample in files)
    return chain(as_they_are, mutants), len(files) + len(mutants)


def _run(images: Iterable[Mutant], count: int, **settings: object) -> Trial:
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("images", total=count)
        return asyncio.run(trial(images, lambda more: progress.advance(task, more), **settings))


def _report(title: str, found: Trial, seed: int) -> int:
    """Print what was found; the exit code."""
    count = sum(found.ends.values()) + len(found.strange)
    table = Table("end", "images", "share", "slowest ms", title=f"{title}: {count} images in {found.took_s:.0f} s")
    for column in table.columns[1:]:
        column.justify = "right"
    for end, number in found.ends.most_common():
        table.add_row(end, str(number), f"{number / count:.2%}", f"{found.slowest_s[end] * 1000:.0f}")
    console.print(table)
    console.print(
        f"memory at most: {found.peak_family_bytes / MIB:.0f} MiB of all processes (PSS; the pool's bound is"
        f" {found.memory_bound_bytes / MIB:.0f}), {found.peak_process_bytes / MIB:.0f} MiB of one decode process"
        f" (limit {found.process_limit_bytes / MIB:.0f})"
    )
    restarts = ", ".join(f"{cause} {number}" for cause, number in found.restarts.items()) or "none"
    console.print(f"decode processes: {found.processes}, all standing: {found.standing}; replaced: {restarts}")
    if found.strange:
        _leave(found, seed)
    console.print("every promise kept" if found.kept else "[bold red]A PROMISE WAS BROKEN[/]")
    return 0 if found.kept else 1


def _leave(found: Trial, seed: int) -> None:
    """Write the images that ended strangely to a folder, and say how each is made again."""
    folder = Path(tempfile.mkdtemp(prefix="image-worker-hostile-"))
    for strange in found.strange:
        name = strange.mutant.name.partition(",")[0].replace(": ", "-").replace("/", "-")
        (folder / name).write_bytes(strange.mutant.data)
        number = strange.mutant.name.partition(":")[0]
        again = f"python -m tests.hostile --seed {seed} --only {number}" if number.isdigit() else "a file of the corpus"
        text = f"{strange.mutant.name}: {strange.what}\n  kept as {folder / name}; again: {again}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
