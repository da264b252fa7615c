"""The books: what came of every event, and whether that is what was promised. PURE, and it knows nothing of the worker.

An event is a place in the input topic. An outcome names the event that it belongs to; which one was there first is told
by the time at which the broker appended it, since two outcomes of an event may be in different topics.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from math import inf
from types import MappingProxyType

from tests.chaos.events import Event

KINDS = (
    "lost",
    "unmarked",
    "torn",
    "unknown",
    "repeated",
    "out_of_order",
    "moved_back",
    "held_back",
    "passed",
    "uncommitted",
    "unequal_id",
    "mixed_up",
    "wrong_reason",
    "given_up",
)
Place = tuple[int, int]
"""A partition and an offset of the input topic."""
NOWHERE: Place = (-1, -1)
_APART_MS = 10
"""By how much times that were noted may be wrong: all are of one machine's clock."""


@dataclass(frozen=True, slots=True)
class Found:
    """An outcome as it lies in an output topic."""

    event: Place
    """`NOWHERE`, where it does not say."""
    id: str
    lane: tuple[str, int]
    """The output topic and its partition."""
    offset: int
    appended_ms: int
    reason: str = ""
    """Of a dead letter."""
    names: str | None = None
    """The event's own id, as the outcome has it."""
    label: str | None = None
    """What the image is called; None in a dead letter."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed offset, in the order in which the group's coordinator took them."""

    partition: int
    offset: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class LateCommit:
    """A commit that may have come late, and between which times: once, and only so."""

    partition: int
    offset: int
    from_ms: int
    to_ms: int

    def may_be(self, commit: Committed) -> bool:
        same = (self.partition, self.offset) == (commit.partition, commit.offset)
        return same and self.from_ms - _APART_MS <= commit.at_ms <= self.to_ms + _APART_MS


@dataclass(slots=True)
class Verdict:
    """The sums, and for each kind of fault the first places where it was found."""

    events: int = 0
    outcomes: int = 0
    lost: int = 0
    unmarked: int = 0
    torn: int = 0
    """Lost or done again by the brokers, both (torn.py)."""
    unknown: int = 0
    """Outcomes of events that there are not, or that were not to be done."""
    repeated: int = 0
    out_of_order: int = 0
    moved_back: int = 0
    held_back: int = 0
    passed: int = 0
    """Commits beyond an event that had no outcome yet."""
    uncommitted: int = 0
    """Partitions whose history of commits does not end at their end."""
    unequal_id: int = 0
    mixed_up: int = 0
    """Outcomes that are another event's by what is in them."""
    wrong_reason: int = 0
    """Dead letters for a reason that their event does not give."""
    given_up: int = 0
    places: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    missing: list[Place] = field(default_factory=list)
    """The events that are lost."""
    again: list[tuple[Found, Found]] = field(default_factory=list)
    """In exactly-once, the outcomes that are repeats, each with the one before."""

    def note(self, kind: str, where: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.places[kind]) < 100:
            self.places[kind].append(where)

    def note_lost(self, events: Iterable[Place]) -> None:
        """These are lost, and no others."""
        self.missing = list(events)
        self.lost = len(self.missing)
        self.places["lost"] = [_place(event) for event in self.missing[:100]]

    def note_repeated(self, pairs: Iterable[tuple[Found, Found]]) -> None:
        """These are repeats, each with the one before, and no others."""
        self.again = list(pairs)
        self.repeated = len(self.again)
        self.places["repeated"] = [f"{outcome} after {before}" for outcome, before in self.again[:100]]

    def blame_the_brokers(self, kind: str, events: Collection[Place], at_most: int) -> None:
        """That these are lost or repeated is the brokers' doing. Of so many it is not, whoever did it."""
        if len(events) > at_most:
            return
        for event in events:
            self.note(kind, _place(event))
        self.note_lost([event for event in self.missing if event not in events])
        if self.again:
            self.note_repeated([pair for pair in self.again if pair[0].event not in events])

    def missed(self, allowed: Collection[str] = ()) -> list[str]:
        """The aims that were missed.

        What is `allowed` is none, nor what the brokers did, nor that an image took too long now and then. Of repeats
        there may be as many as events, where they are allowed: one for five is usual.
        """
        most: dict[str, float] = dict.fromkeys(allowed, inf)
        most |= {"given_up": self.events // 100, "unmarked": inf, "torn": inf}
        if "repeated" in allowed:
            most["repeated"] = self.events
        return [kind for kind in KINDS if getattr(self, kind) > most.get(kind, 0)]


def audit(
    ends: Mapping[int, int],
    outcomes: Iterable[Found],
    commits: Collection[Committed],
    events: Mapping[Place, Event] = MappingProxyType({}),
    late: Collection[LateCommit] = (),
    ids: Mapping[Place, str] = MappingProxyType({}),
    *,
    exactly_once: bool = False,
) -> Verdict:
    """The verdict on a group, given the end offset of each input partition. Input offsets have no gaps.

    `events`: what they ask for, with which their outcomes are compared. An event that is fickle may end as a dead
    letter and, where that was lost in a crash and its neighbours were published, as a classification behind them. So
    its place in the order is judged in `exactly_once` alone, where readers see one attempt of it and its neighbours.

    `late`: what the network brought late. A lower offset that is one of these is *held back*, not *moved back*, and the
    group goes on from there.

    `ids`: those that the same events had before, of the same model.
    """
    verdict = Verdict(events=sum(ends.values()))
    found = []
    for outcome in sorted(outcomes, key=lambda outcome: (outcome.appended_ms, outcome.offset)):
        verdict.outcomes += 1
        if 0 <= outcome.event[1] < ends.get(outcome.event[0], 0):
            found.append(outcome)
        else:
            verdict.note("unknown", str(outcome))
    _compare_ids(found, ids, verdict)
    _compare_contents(found, events, verdict)
    first: dict[Place, Found] = {}
    before = [(outcome, first.setdefault(outcome.event, outcome)) for outcome in found]
    verdict.note_repeated((outcome, earlier) for outcome, earlier in before if earlier is not outcome)
    if not exactly_once:
        verdict.again.clear()
    asked = [(partition, offset) for partition, end in ends.items() for offset in range(end)]
    verdict.note_lost(event for event in asked if event not in first)
    for place, outcome in first.items():
        if (event := events.get(place)) is not None and event.is_sound and outcome.reason in event.reasons:
            verdict.note("given_up", str(outcome))
    unjudged: set[Place] = set() if exactly_once else {place for place, event in events.items() if event.is_fickle}
    _compare_order((outcome for place, outcome in first.items() if place not in unjudged), verdict)
    _compare_commits(commits, late, verdict)
    _compare_progress(commits, ends, first, verdict)
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


def _compare_contents(found: list[Found], events: Mapping[Place, Event], verdict: Verdict) -> None:
    """An outcome has its event's own id, and the label of its picture or a reason that the event gives."""
    for outcome in found:
        if (event := events.get(outcome.event)) is None:
            continue
        if outcome.reason and outcome.reason not in event.reasons:
            verdict.note("wrong_reason", f"{outcome} of {event}")
        elif outcome.names != event.id or (not outcome.reason and outcome.label != event.label):
            verdict.note("mixed_up", f"{outcome} of {event}")


def _compare_order(firsts: Iterable[Found], verdict: Verdict) -> None:
    """Within a lane the first outcomes of one input partition are in its order."""
    last: dict[tuple[tuple[str, int], int], Found] = {}
    for outcome in sorted(firsts, key=lambda outcome: (outcome.lane, outcome.offset)):
        stream = (outcome.lane, outcome.event[0])
        if stream in last and outcome.event < last[stream].event:
            verdict.note("out_of_order", f"{outcome} after {last[stream]}")
        else:
            last[stream] = outcome


def _compare_commits(commits: Iterable[Committed], late: Collection[LateCommit], verdict: Verdict) -> None:
    """No partition's offset goes back, but for what came late."""
    unused = list(late)
    highest: dict[int, int] = {}
    for commit in commits:
        before = highest.get(commit.partition, -1)
        if commit.offset < before:
            late_one = next((each for each in unused if each.may_be(commit)), None)
            verdict.note("held_back" if late_one else "moved_back", f"{commit} after {before}")
            if late_one is not None:
                unused.remove(late_one)
                before = commit.offset
        highest[commit.partition] = max(before, commit.offset)


def _compare_progress(
    commits: Iterable[Committed], ends: Mapping[int, int], first: Mapping[Place, Found], verdict: Verdict
) -> None:
    """No commit is beyond what was done by then, and the last one of each partition is at its end.

    An event that is lost has no time at which it was done, and is counted as that.
    """
    done_ms = {partition: _done_ms(partition, end, first) for partition, end in ends.items()}
    last: dict[int, int] = {}
    for commit in commits:
        last[commit.partition] = commit.offset
        done = done_ms.get(commit.partition, [0])
        if commit.offset >= len(done):
            verdict.note("passed", f"{commit}, and the end is {len(done) - 1}")
        elif done[commit.offset] > commit.at_ms + _APART_MS:
            verdict.note("passed", f"{commit}, and all before it is done at {done[commit.offset]}")
    for partition, end in ends.items():
        if last.get(partition, 0) != end:
            verdict.note("uncommitted", f"partition {partition}: {last.get(partition)} at last, and its end is {end}")


def _done_ms(partition: int, end: int, first: Mapping[Place, Found]) -> list[int]:
    """For each offset up to the end, the time at which the last of the events below it had its outcome."""
    events = [(partition, offset) for offset in range(end)]
    return list(accumulate((first[each].appended_ms if each in first else 0 for each in events), max, initial=0))
