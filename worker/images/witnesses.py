"""The hosts that are known to be good: asked before this worker's own network is blamed. PURE: time is passed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_REMEMBERED = 64
"""Hosts kept at most: an address names any host it likes, and memory has a bound."""
_GOOD_FOR_S = 600.0
"""A host that has been silent for so long while others answered is no witness any more."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A host and its port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def is_name(self) -> bool:
        """Whether it has to be looked up."""
        return not (":" in self.host or self.host.replace(".", "").isdecimal())


class Witnesses:
    """Which hosts answered of late, and which failed since anybody answered. Owned by the event loop."""

    def __init__(self, hosts: int, window_s: float) -> None:
        self._hosts = hosts
        self._window_s = window_s
        self._answered: dict[Origin, float] = {}
        self._failed: dict[Origin, float] = {}
        self._since: float | None = None

    def answered(self, origin: Origin, now: float) -> None:
        """A host answered, whatever it said."""
        self._failed.clear()
        self._since = None
        self._answered.pop(origin, None)
        self._answered[origin] = now
        oldest = next(iter(self._answered))
        if len(self._answered) > _REMEMBERED or now - self._answered[oldest] > _GOOD_FOR_S:
            del self._answered[oldest]

    def failed(self, origin: Origin, now: float) -> None:
        """No answer came from a host."""
        self._since = now if self._since is None else self._since
        self._failed.pop(origin, None)
        self._failed[origin] = now
        if len(self._failed) > max(_REMEMBERED, self._hosts):
            del self._failed[next(iter(self._failed))]

    def known(self, *, names: bool) -> Sequence[Origin]:
        """The hosts that answered of late: only those that are looked up, if it is about names."""
        return [origin for origin in self._answered if origin.is_name or not names]

    def enough(self, silent: int) -> bool:
        """Whether so many hosts that were good and are silent now can be more than a few hosts' own trouble."""
        return silent >= self._hosts

    def none_ever_answered(self, now: float) -> bool:
        """Whether enough hosts failed, none ever answered, and this is news still.

        A network that was never seen to work is believed to be down for a while only: a topic that begins with dead
        hosts must not stand still for good.
        """
        recent = sum(now - failed <= self._window_s for failed in self._failed.values())
        news = self._since is not None and now - self._since <= self._window_s
        return not self._answered and recent >= self._hosts and news
