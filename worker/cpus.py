"""How many CPUs this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_cpus(cgroup: Path = _CGROUP) -> int:
    """The CPUs of the process's affinity, or of its container's quota where that is less; at least 1.

    torch counts the machine's cores, and more threads or decode processes than the quota allows would be throttled.
    """
    affinity = len(os.sched_getaffinity(0))
    quota = _quota_v2(cgroup) or _quota_v1(cgroup)
    return max(1, min(affinity, math.ceil(quota))) if quota else affinity


def _quota_v2(cgroup: Path) -> float | None:
    quota, period = [*_words(cgroup / "cpu.max"), "max", "max"][:2]
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(cgroup: Path) -> float | None:
    quota = [*_words(cgroup / "cpu" / "cpu.cfs_quota_us"), "-1"][0]
    period = [*_words(cgroup / "cpu" / "cpu.cfs_period_us"), "100000"][0]
    return None if int(quota) <= 0 else int(quota) / int(period)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
