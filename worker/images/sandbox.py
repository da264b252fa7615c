"""What a decode process gives up before it reads its first hostile byte. Nothing here can be taken back.

Layers, each of which would have to fail: no environment and no open file to find anything in (`forkserver.py`), limits
on memory and descriptors, and a filter of system calls (`seccomp.py`). The filter needs a kernel and a machine that
have it; without it the limits stand alone, and `confine` says so.
"""

from __future__ import annotations

import os
import resource
import signal

from worker.images import seccomp

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38


def confine(memory_bytes: int, keep: tuple[int, ...], parent: int) -> str:
    """Give up all but memory, time, and the descriptors to `keep`. `parent` is the process that forked this one.

    Returns why network, files and programs are not shut off, the empty string where they are. Raises OSError where even
    the limits fail.

    No RLIMIT_NPROC: it counts the threads of all processes of the user, whatever container they are in, and would stop
    codecs that start one.
    """
    _silence()
    _close_all_but(keep)
    # So that none outlives its fork server, at work or not. That may be gone before this is asked for.
    seccomp.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise OSError("the fork server is gone")
    seccomp.prctl(_PR_SET_DUMPABLE, 0)  # no other process of the same user may look into this one
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, 0)  # those that are open stay so; no file and no socket comes after them
    return _filter()


def _filter() -> str:
    if reason := seccomp.why_not():
        return reason
    try:
        seccomp.prctl(_PR_SET_NO_NEW_PRIVS, 1)
        seccomp.install()
    except OSError as error:
        return f"the kernel takes no seccomp filter: {error}"
    return ""


def _limit(kind: int, value: int) -> None:
    resource.setrlimit(kind, (value, value))


def _silence() -> None:
    """Standard input, output and error go nowhere: libraries write what an image tells them to."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)


def _close_all_but(keep: tuple[int, ...]) -> None:
    kept = sorted({0, 1, 2, *keep})
    ends = [*kept[1:], resource.getrlimit(resource.RLIMIT_NOFILE)[0]]
    for each, end in zip(kept, ends, strict=True):
        os.closerange(each + 1, end)
