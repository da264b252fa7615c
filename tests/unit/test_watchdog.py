"""What a watchdog takes for dead or stuck. Its looks are made by hand: no clock, no waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from structlog.typing import EventDict

from worker.observe import watchdog as room
from worker.observe.watchdog import Part, Watchdog


@dataclass
class Watching:
    """A watchdog over one part that shows signs of life when the test says so."""

    thread: threading.Thread
    sign_s: float | None = 0.0
    found: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        part = Part("inference thread", self.thread, lambda: self.sign_s, limit_s=10, must_live=True)
        self.dog = Watchdog([part], self.found.append, self.left.append)

    def look(self, seconds: int) -> None:
        for _ in range(seconds):
            self.dog.look(1.0)


@pytest.fixture
def end() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def watching(end: threading.Event) -> Watching:
    def stand_here_and_wait() -> None:
        end.wait()

    thread = threading.Thread(target=stand_here_and_wait, daemon=True)
    thread.start()
    return Watching(thread)


def test_a_part_with_signs_of_life_is_well_however_long_it_takes(watching: Watching) -> None:
    for sign_s in range(10):
        watching.sign_s = sign_s
        watching.look(9)
    assert not watching.found


def test_a_part_that_has_nothing_to_do_is_well(watching: Watching) -> None:
    watching.sign_s = None
    watching.look(100)
    assert not watching.found


def test_one_that_stands_still_is_named_and_its_stack_is_logged(watching: Watching, logs: list[EventDict]) -> None:
    watching.look(11)
    assert watching.found == ["the inference thread has stood still for 10 s; its stack is in the log"]
    assert "stand_here_and_wait" in logs[-1]["stack"]
    assert not watching.left


def test_a_process_that_does_not_leave_for_it_is_ended(watching: Watching) -> None:
    watching.look(11)
    watching.look(9)
    assert not watching.left
    watching.look(1)
    assert watching.left == watching.found


def test_what_went_on_again_counts_from_there(watching: Watching) -> None:
    watching.look(10)
    watching.sign_s = 1.0
    watching.look(10)
    assert not watching.found


def test_a_thread_that_died_is_found_at_the_next_look(watching: Watching, end: threading.Event) -> None:
    watching.sign_s = None
    watching.look(1)
    assert not watching.found
    end.set()
    watching.thread.join()
    watching.look(1)
    assert watching.found == ["the inference thread died"]
    watching.look(30)
    assert not watching.left, "what is dead keeps nobody from leaving"


def test_a_log_that_nobody_reads_keeps_no_stuck_worker_alive(
    watching: Watching, end: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_WRITE_S", 0.01)
    monkeypatch.setattr(room, "log", SimpleNamespace(error=lambda *_words, **_more: end.wait()))
    watching.look(21)
    assert watching.left == watching.found != []


def test_a_watchdog_that_fails_says_so_to_the_worker(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(watching.dog, "look", lambda _seconds: 1 / 0)
    watching.dog._run()
    assert watching.found == ["the watchdog failed: ZeroDivisionError('division by zero')"]
