"""Exactly-once by example: one run of the state machine, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.unit.kafka.coordinator import Trouble
from tests.unit.kafka.once import PARTITIONS, Once
from worker.kafka.transactions import Phase


class Scene(Once):
    """One run of it, step by step."""

    def happens(self, call: str, trouble: Trouble | int) -> Scene:
        """To the next call of this kind."""
        self.cluster.troubles[call] = trouble
        return self

    def come(self, partition: int, count: int) -> Scene:
        """Records that are finished at once; nothing is settled yet."""
        self.log[PARTITIONS[partition]] += count
        for ticket in self.read(PARTITIONS[partition]):
            self.finish(ticket)
        return self

    def goes_on_after(self, seconds: float = 0.0, *, patience_s: float = 0.0) -> bool:
        """Whether the settlement under way is done after one more step of the sink, which has so long."""
        self.cluster.pass_time(seconds)
        settlement = self.ledger.take()
        assert settlement is not None, "there is nothing to settle"
        done = self.sink.settle(settlement, self.ledger.positions, self.group, patience_s)
        if done:
            self.ledger.settled(settlement)
        return done

    @property
    def phase(self) -> Phase:
        return self.sink._transactions.phase


@contextmanager
def a_scene() -> Iterator[Scene]:
    """At whose end its promises hold, whatever happened."""
    scene = Scene()
    yield scene
    scene.each_outcome_is_visible_once_and_its_offset_with_it()
    scene.sink._claim.release()
    scene.patches.undo()
