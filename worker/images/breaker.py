"""Whether a host in trouble is left alone. PURE: time is passed in.

A circuit breaker: closed while the host answers; open, for a rest that doubles, when nearly all of its last tries
failed; then half open, with one try at a time, until one succeeds. Beside it a budget of retries (as in Finagle):
a host that fails gets a fifth more tries than it has images, not four times as many.
"""

from __future__ import annotations

from collections import deque

_REMEMBERED = 20
_FEWEST = 10
"""Images before a judgement: some dead links are no dead host."""
_FAILED_SHARE = 0.8
"""A host that fails for less is worth asking: most of what is asked of it arrives, or could."""
_FIRST_REST_S = 1.0
_LONGEST_REST_S = 30.0
_RETRIES = 10.0
_RETRIES_A_TRY = 0.2


class Breaker:
    """What one host's last tries say of it. Of each image only the first try counts: retries repeat what it said."""

    def __init__(self) -> None:
        self._failed: deque[bool] = deque(maxlen=_REMEMBERED)
        self._retries = _RETRIES
        self._rests = 0
        self._probing = False
        self.rests_until: float | None = None
        """While open: when the host may be tried again. None while closed."""
        self.why = ""
        """What was wrong the last time."""

    @property
    def pristine(self) -> bool:
        """Whether there is nothing to remember."""
        return self.rests_until is None and not any(self._failed) and self._retries >= _RETRIES

    def admits(self, now: float) -> bool:
        """Whether a try may begin."""
        return self.rests_until is None or (now >= self.rests_until and not self._probing)

    def begin(self) -> bool:
        """A try begins. True where it is the one that tests a host which has rested."""
        self._probing = self.rests_until is not None
        return self._probing

    def succeeded(self) -> None:
        """A try ended with an answer of the host's own: it is well, whatever it said."""
        self._failed.append(False)
        self._retries = min(_RETRIES, self._retries + _RETRIES_A_TRY)
        if self.rests_until is not None:
            self.forgive()

    def failed(self, why: str, now: float, *, first: bool, probe: bool) -> None:
        """A try ended without an answer, or with one that says that the host is in trouble."""
        self.why = why
        if first:
            self._failed.append(True)
            self._retries = min(_RETRIES, self._retries + _RETRIES_A_TRY)
        if probe or (self.rests_until is None and self._mostly_fails()):
            self.rests_until = now + min(_FIRST_REST_S * 2**self._rests, _LONGEST_REST_S)
            self._rests += 1
        self.ended(probe=probe)

    def ended(self, *, probe: bool) -> None:
        """A try ended in a way that says nothing of the host."""
        if probe:
            self._probing = False

    def take_retry(self) -> bool:
        """Take one try more than the image's first from the budget. False where it is used up."""
        if self._retries < 1:
            return False
        self._retries -= 1
        return True

    def forgive(self) -> None:
        """Close: the host is well, or was not to blame."""
        self._failed.clear()
        self._rests = 0
        self._probing = False
        self.rests_until = None

    def _mostly_fails(self) -> bool:
        return len(self._failed) >= _FEWEST and sum(self._failed) >= _FAILED_SHARE * len(self._failed)
