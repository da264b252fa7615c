"""Whether there was anything to balance: where nothing happened, books that balance show nothing. PURE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from tests.chaos.plan import Action, Fault

_SO_MANY = 5
"""Of a fault that was planned so often, one at least must have been done.

What is planned for brokers is put off on a slow machine, and dropped: a run of two minutes has less of each kind.
"""


def never_done(planned: Iterable[Action], done: Mapping[Fault, int]) -> list[str]:
    """The faults that were planned often and never came to pass."""
    counts = Counter(action.fault for action in planned)
    return [
        f"{fault}: planned {count} times and never done"
        for fault, count in counts.items()
        if count >= _SO_MANY and not done.get(fault)
    ]


def never_read(group: str, events: int, acknowledged: int) -> list[str]:
    """Where the input topic holds nothing, or less than the brokers acknowledged.

    It may hold more: what was written though its report says that it failed.
    """
    if events and events >= acknowledged:
        return []
    return [f"{group}: {events} events were read, and {acknowledged} were acknowledged"]
