"""The books: what came of every event, and whether that is what was promised. PURE, and it knows nothing of the worker.

An event is a place in the input topic. An outcome names the event that it belongs to; which one was there first is told
by the time at which the broker appended it, since two outcomes of an event may be in different topics.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

KINDS = ("lost", "unmarked", "repeated", "out_of_order", "moved_back", "held_back", "unequal_id", "given_up")
Place = tuple[int, int]
"""A partition and an offset of the input topic."""


@dataclass(frozen=True, slots=True)
class Found:
    """An outcome as it lies in an output topic."""

    event: Place
    id: str
    lane: tuple[str, int]
    """The output topic and its partition."""
    offset: int
    appended_ms: int
    is_dead: bool = False
    """Whether it is a dead letter."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed offset, in the order in which the group's coordinator took them."""

    partition: int
    offset: int
    at_ms: int = 0


@dataclass(slots=True)
class Verdict:
    """The sums, and for each kind of fault the first places where it was found."""

    events: int = 0
    outcomes: int = 0
    lost: int = 0
    unmarked: int = 0
    """Lost by the brokers (unmarked.py)."""
    repeated: int = 0
    out_of_order: int = 0
    moved_back: int = 0
    held_back: int = 0
    unequal_id: int = 0
    given_up: int = 0
    places: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    missing: list[Place] = field(default_factory=list)
    """The events that are lost."""

    def note(self, kind: str, where: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.places[kind]) < 100:
            self.places[kind].append(where)

    def blame_the_brokers(self, events: Collection[Place]) -> None:
        """These are lost by the brokers, and by nobody else."""
        for event in events:
            self.note("unmarked", _place(event))
            self.lost -= 1
            self.places["lost"] = [each for each in self.places["lost"] if each != _place(event)]

    def missed(self, allowed: Collection[str] = ()) -> list[str]:
        """The aims that were missed.

        What is `allowed` is none, nor what the brokers lost, nor that an image took too long now and then.
        """
        most = {"given_up": self.events // 100, "unmarked": self.events}
        return [kind for kind in KINDS if kind not in allowed and getattr(self, kind) > most.get(kind, 0)]


def audit(
    ends: Mapping[int, int],
    outcomes: Iterable[Found],
    commits: Iterable[Committed],
    fickle: Collection[Place] = (),
    late: Collection[tuple[int, int]] = (),
    sound: Collection[Place] = (),
    ids: Mapping[Place, str] = MappingProxyType({}),
) -> Verdict:
    """The verdict on a group, given the end offset of each input partition. Input offsets have no gaps.

    `fickle`: events of which an attempt may end as a dead letter and the next as a classification, since their image's
    host fails at times. Where the first attempt was lost in a crash, its neighbours published and it not, nobody can
    say which place in the order is the right one: so theirs is not judged.

    `late`: from when to when in ms (a broker's time) the network brought a commit late. What is committed lower just
    then is *held back*, not *moved back*, and the group goes on from there.

    `sound`: events whose image is there, on a host that does not fail. One that ends as a dead letter is *given up*.

    `ids`: those that the same events had before, of the same model.
    """
    found = sorted(outcomes, key=lambda outcome: (outcome.appended_ms, outcome.offset))
    verdict = Verdict(events=sum(ends.values()), outcomes=len(found))
    _compare_ids(found, ids, verdict)
    first: dict[Place, Found] = {}
    for outcome in found:
        if outcome.event in first:
            verdict.note("repeated", f"{outcome} after {first[outcome.event]}")
        else:
            first[outcome.event] = outcome
    for partition, end in ends.items():
        for offset in range(end):
            if (partition, offset) not in first:
                verdict.note("lost", _place((partition, offset)))
                verdict.missing.append((partition, offset))
    for event, outcome in first.items():
        if outcome.is_dead and event in sound:
            verdict.note("given_up", str(outcome))
    _compare_order((outcome for event, outcome in first.items() if event not in fickle), verdict)
    _compare_commits(commits, late, verdict)
    return verdict


def _place(event: Place) -> str:
    return "partition {}, offset {}".format(*event)


def _compare_ids(found: list[Found], known: Mapping[Place, str], verdict: Verdict) -> None:
    """One event has one id, and one id one event."""
    ids = dict(known)
    for outcome in found:
        if ids.setdefault(outcome.event, outcome.id) != outcome.id:
            verdict.note("unequal_id", f"{outcome} had {ids[outcome.event]}")
    for id_, count in Counter(ids.values()).items():
        if count > 1:
            verdict.note("unequal_id", f"{count} events have the id {id_}")


def _compare_order(firsts: Iterable[Found], verdict: Verdict) -> None:
    """Within a lane the first outcomes of one input partition are in its order."""
    last: dict[tuple[tuple[str, int], int], Found] = {}
    for outcome in sorted(firsts, key=lambda outcome: (outcome.lane, outcome.offset)):
        stream = (outcome.lane, outcome.event[0])
        if stream in last and outcome.event < last[stream].event:
            verdict.note("out_of_order", f"{outcome} after {last[stream]}")
        else:
            last[stream] = outcome


def _compare_commits(commits: Iterable[Committed], late: Collection[tuple[int, int]], verdict: Verdict) -> None:
    highest: dict[int, int] = {}
    for commit in commits:
        before = highest.get(commit.partition, -1)
        if commit.offset < before:
            is_late = any(from_ms <= commit.at_ms <= to_ms for from_ms, to_ms in late)
            where = f"partition {commit.partition}: {commit.offset} after {before}"
            verdict.note("held_back" if is_late else "moved_back", where)
            before = commit.offset if is_late else before
        highest[commit.partition] = max(before, commit.offset)
