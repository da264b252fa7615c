"""Whether the network at large is down, told from hosts that fail to connect. PURE: time is passed in."""

from __future__ import annotations

_REMEMBERED = 64
"""Hosts kept at most: an address names any host it likes, and memory has a bound."""


class Outage:
    """Remembers the hosts that failed at connection level since a host last answered. Owned by the event loop."""

    def __init__(self, hosts: int, window_s: float) -> None:
        self._hosts = hosts
        self._window_s = window_s
        self._failed: dict[str, float] = {}
        self._since: float | None = None

    def failed(self, host: str, now: float) -> None:
        """A connection to the host could not be made, or its name could not be looked up."""
        self._since = now if self._since is None else self._since
        self._failed.pop(host, None)
        self._failed[host] = now
        if len(self._failed) > max(_REMEMBERED, self._hosts):
            del self._failed[next(iter(self._failed))]

    def answered(self) -> None:
        """Some host answered, whatever it said: the network is up."""
        self._failed.clear()
        self._since = None

    def at_large(self, now: float) -> bool:
        """Whether so many different hosts failed within the window, with none answering in between, that it is us."""
        recent = sum(now - failed <= self._window_s for failed in self._failed.values())
        return recent >= self._hosts

    def is_news(self, now: float) -> bool:
        """Whether the first of the failures lies within the window still."""
        return self._since is None or now - self._since <= self._window_s
