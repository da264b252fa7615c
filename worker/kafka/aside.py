"""Calls of librdkafka that may never come back: a thread of its own waits for each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


def aside(call: Callable[[], Any], name: str) -> Future[Any]:
    """Make a call on a thread with this name, which keeps no process from ending; what it returns or raises."""
    answer: Future[Any] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised by whoever takes the answer
            answer.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return answer
