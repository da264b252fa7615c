"""When to speak of something that is waited for, of which nobody else says anything."""

from __future__ import annotations

import time

_EVERY_S = 30.0


class Reminder:
    """Due when that has lasted for a while, and then every half minute."""

    def __init__(self, first_s: float = _EVERY_S) -> None:
        self._since_s = time.monotonic()
        self._due_s = self._since_s + first_s

    @property
    def seconds(self) -> int:
        """For how long it is waited for."""
        return round(time.monotonic() - self._since_s)

    def due(self) -> bool:
        """Whether to speak now. Whoever asks speaks: the next time is half a minute later."""
        if time.monotonic() < self._due_s:
            return False
        self._due_s = time.monotonic() + _EVERY_S
        return True
