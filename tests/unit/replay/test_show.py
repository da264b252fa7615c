"""What an operator sees of a replay at work: a bar on a terminal, else lines of the log."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from structlog.typing import EventDict

from tests.workers import until
from worker.observe.settings import ObserveSettings
from worker.replay import show as room
from worker.replay.show import shown


@dataclass
class Standing:
    """A million offsets, of which one is done each time that it is looked at."""

    left: int = 1_000_001

    @property
    def remaining(self) -> int:
        self.left -= 1
        return self.left


class Screen:
    """Where it is shown, and how the log was set up for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> None:
        self.file, self.levels = StringIO(), list[str]()
        console = Console(file=self.file, force_terminal=terminal, width=120)
        monkeypatch.setattr(room, "Console", lambda **_: console)
        monkeypatch.setattr(room, "set_up", lambda settings: self.levels.append(settings.log_level))
        monkeypatch.setattr(room, "_EVERY_S", 0.01)
        monkeypatch.setattr(room, "_LOG_EVERY_S", 0.02)

    async def show(self, enough: Callable[[], bool], **settings: Any) -> None:
        standing: Any = Standing()
        async with shown(ObserveSettings(**settings), standing):
            await until(enough, "it is shown")


@pytest.mark.parametrize(
    ("level", "set_up_as"), [("info", "warning"), ("warning", "warning"), ("error", "error"), ("debug", "debug")]
)
async def test_on_a_terminal_there_is_a_bar_with_the_rate_and_the_time_left_and_no_lines_of_information(
    monkeypatch: pytest.MonkeyPatch, logs: list[EventDict], level: str, set_up_as: str
) -> None:
    screen = Screen(monkeypatch, terminal=True)
    whole = re.compile(r"replayed .*[1-9]\d*/1000000.* \d+/s, \d+ h \d\d min left")
    await screen.show(lambda: whole.search(screen.file.getvalue()) is not None, log_level=level)
    assert screen.levels == [set_up_as]
    assert logs == []


async def test_without_a_terminal_a_line_of_the_log_says_so_now_and_then(
    monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    screen = Screen(monkeypatch, terminal=False)
    await screen.show(lambda: len(logs) >= 2)
    assert screen.file.getvalue() == ""
    assert screen.levels == ["info"]
    first, second = logs[:2]
    assert first["event"] == second["event"] == "replay.progress"
    assert first["of"] == second["of"] == 1_000_000
    assert 0 < first["done"] < second["done"] < 1000
    assert first["records_per_s"] > 0
    assert first["left"] != "unknown"
