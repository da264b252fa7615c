"""A wall clock that jumps, as after a suspension or by NTP: nothing that decides looks at it."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from tests.clusters import Cluster, event
from tests.workers import running, until

_HOUR_S = 3600


async def test_while_the_wall_clock_jumps_hours_to_and_fro_each_event_is_done_once(
    embedded: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = embedded.topics()
    jumps = [0, -30 * _HOUR_S, 5 * _HOUR_S, -1, 400 * 24 * _HOUR_S]
    jump = itertools.cycle(jumps)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + next(jump))
    monkeypatch.setattr(time, "time_ns", lambda: int((real() + next(jump)) * 1e9))
    embedded.produce(topics.input, [event(number) for number in range(200)])
    async with running(embedded.settings(topics, "kafka.group_protocol=consumer")) as worker:
        seen = await asyncio.to_thread(embedded.read, [topics.results], 200)
        await until(lambda: embedded.committed(topics) == embedded.ends(topics.input), "all is committed")
        assert worker.status()["not_ready"] == []
    assert len(seen) == 200
    cycle = [time.time() for _ in jumps]
    assert max(cycle) - min(cycle) > _HOUR_S, "the clock did not jump"
