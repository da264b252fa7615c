"""The memory that this process has resident."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def peak_resident_bytes() -> int:
    """The most that this process ever had in memory. (getrusage would tell of its parent, where that was larger.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def forget_peak() -> None:
    """Have the peak begin anew at what is resident now (proc(5), clear_refs). Where that is forbidden, it stays."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
