"""The machine that a trial ran on, for whoever compares two throughputs."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

from worker.cpus import available_cpus
from worker.models.settings import Device


@dataclass(frozen=True, slots=True)
class Machine:
    """What throughput depends on, beside model and settings."""

    processor: str
    cpus: int
    """That this process may use."""
    gpu: str | None
    """That torch sees and the settings allow; None otherwise."""
    system: str


def machine(device: Device) -> Machine:
    """This one. `device` is where the model was told to run."""
    return Machine(_processor(), available_cpus(), _gpu(device), f"{platform.system()} {platform.machine()}")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _gpu(device: Device) -> str | None:
    import torch

    return torch.cuda.get_device_name() if device != "cpu" and torch.cuda.is_available() else None
