"""Notices what died or stands still, and sees to it that the worker leaves with an error instead of looking healthy.

A thread of its own looks once a second at the last sign of life of each part. Of one that shows none for too long it
logs the stack, which says where it stands, and tells the worker, which leaves. Where the worker cannot (it may be the
event loop that stands still), the watchdog ends the process. Nothing unfinished is committed either way.

Only time in which the watchdog itself ran counts: of a process that was stopped and went on (SIGSTOP, a suspended
machine) nothing is stuck. A standstill of the whole interpreter it cannot see; then /livez gives no answer.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 1.0
_LEAVE_S = 10.0
"""How long the worker may take to leave by itself."""
_WRITE_S = 1.0


@dataclass(frozen=True, slots=True)
class Part:
    """Something that must not stand still."""

    name: str
    thread: threading.Thread
    sign_s: Callable[[], float | None]
    """Monotonic time of its last sign of life; None while it has nothing to do. Called on the watchdog's thread."""
    limit_s: float
    must_live: bool = False
    """Whether the end of its thread is a failure by itself."""


class Watchdog:
    """Watches parts until it is stopped. `found` is called on the watchdog's thread with what is wrong."""

    def __init__(self, parts: Sequence[Part], found: Callable[[str], None], leave: Callable[[str], None]) -> None:
        """`leave`: ends the process where that did not help in time; gets what is wrong."""
        self._found = found
        self._leave = leave
        self._parts = parts
        self._signs: dict[str, tuple[float | None, float]] = {}
        """Of each part, the last sign seen, and for how long it is the last one."""
        self.waits: str | None = None
        """What stands still, while the process should leave for it: that it does is watched to the end."""
        self._waited_s = 0.0
        self._stop = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def look(self, passed_s: float) -> None:
        """One look, so long after the one before."""
        if self.waits is not None:
            self._waited_s += passed_s
            if self._waited_s >= _LEAVE_S:
                self._leave(self.waits)
            return
        for part in self._parts:
            if part.must_live and not part.thread.is_alive():
                self._found(f"the {part.name} died")
            elif (still_s := self._still_s(part, passed_s)) >= part.limit_s:
                self._tell(part, still_s)
                return

    def _still_s(self, part: Part, passed_s: float) -> float:
        sign_s = part.sign_s()
        last_s, still_s = self._signs.get(part.name, (None, 0.0))
        still_s = still_s + passed_s if sign_s is not None and sign_s == last_s else 0.0
        self._signs[part.name] = (sign_s, still_s)
        return still_s

    def _tell(self, part: Part, still_s: float) -> None:
        stack = _stack(part.thread)
        self.waits = f"the {part.name} has stood still for {still_s:.0f} s; its stack is in the log"
        _without_waiting(lambda: log.error("worker.stands_still", what=part.name, seconds=round(still_s), stack=stack))
        self._found(self.waits)

    def _run(self) -> None:
        looked_s = time.monotonic()
        try:
            while not self._stop.wait(_LOOK_EVERY_S):
                now_s = time.monotonic()
                # A longer pause was the whole process's.
                self.look(min(now_s - looked_s, 2 * _LOOK_EVERY_S))
                looked_s = now_s
        except Exception as error:  # noqa: BLE001 - nobody else would notice what it watches
            self._found(f"the watchdog failed: {error!r}")


def end_process(wrong: str) -> None:
    """For what cannot leave by itself any more: no cleanup, since that is what it may be stuck in."""

    def say() -> None:
        sys.stderr.write(f"image-worker: {wrong}; it did not end by itself: nothing unfinished is committed\n")
        sys.stderr.flush()

    try:
        _without_waiting(say)
    finally:
        os._exit(1)


def _without_waiting(write: Callable[[], None]) -> None:
    """For a second at most: it may be a log that nobody reads which all stand still at."""
    writing = threading.Thread(target=write, daemon=True)
    with suppress(RuntimeError):  # a machine that has no thread left
        writing.start()
        writing.join(_WRITE_S)


def _stack(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    return "".join(traceback.format_stack(frame)) if frame else "it has ended"
