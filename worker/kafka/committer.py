"""Synchronous commits with a time limit. librdkafka's have none: while the broker is away they block (seen in 2.16).

A thread of its own waits for the answer, so that the Kafka thread can go on polling, and say that it waits. A commit
that is answered late is no danger: it carries the member's generation of the time it was sent, and the coordinator
refuses one of a generation that is over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Committer(Generic[K, V]):
    """Runs one commit at a time. Its methods are called by the Kafka thread."""

    def __init__(self, commit: Callable[[Mapping[K, V]], bool]) -> None:
        self._commit = commit
        self._work: SimpleQueue[tuple[Mapping[K, V], Future[bool]] | None] = SimpleQueue()
        self._pending: tuple[Mapping[K, V], Future[bool]] | None = None
        # A daemon: a commit that is never answered must not keep the process from ending.
        threading.Thread(target=self._run, name="commit", daemon=True).start()

    def commit(self, positions: Mapping[K, V], timeout_s: float) -> bool:
        """Whether all of the positions are committed. False when time is up: the next call waits on.

        Raises what the commit raised.
        """
        if self._pending is None:
            self._submit(positions)
        assert self._pending is not None
        committing, answer = self._pending
        if not wait([answer], timeout_s).done:
            return False
        self._pending = None
        # After a rebalance fewer positions are asked for than are under way; more are asked for by the next settlement.
        return answer.result() and positions.items() <= committing.items()

    def close(self, timeout_s: float) -> bool:
        """Wait for a commit under way and end the thread. False where it is still not answered."""
        self._work.put(None)
        return self._pending is None or bool(wait([self._pending[1]], timeout_s).done)

    def _submit(self, positions: Mapping[K, V]) -> None:
        self._pending = (positions, Future())
        self._work.put(self._pending)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            positions, answer = work
            try:
                answer.set_result(self._commit(positions))
            except BaseException as error:  # noqa: BLE001 - raised by whoever takes the answer
                answer.set_exception(error)
