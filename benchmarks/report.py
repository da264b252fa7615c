"""What a benchmark says: its ratio, the aim, the figures behind it, and the machine it ran on."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(slots=True)
class Report:
    """One benchmark's result."""

    title: str
    value: str
    aim: str
    reached: bool | None
    """None where nothing was measured."""
    figures: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        word = {True: "reached", False: "MISSED", None: "left out"}[self.reached]
        return f"{word:8} {self.title}: {self.value} (aim {self.aim})"

    def write(self, name: str) -> None:
        """Print it, and write it to results/NAME.json."""
        RESULTS.mkdir(exist_ok=True)
        whole = {**asdict(self), "machine": machine(), "at": datetime.now(UTC).isoformat(timespec="seconds")}
        (RESULTS / f"{name}.json").write_text(json.dumps(whole, indent=2) + "\n")
        for key, figure in self.figures.items():
            print(f"  {key:44} {figure}")
        print(self.line(), flush=True)


def machine() -> dict[str, Any]:
    """The processor, its cores, and how busy they were."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processor": model,
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }
