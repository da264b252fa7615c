"""Every connection that this process tries to make, seen by an audit hook of the interpreter (PEP 578).

Whatever library asks for it, `socket.connect` passes the hook first, and a hook that raises stops it: no test sends a
packet to a stranger. Name servers are asked by c-ares and libc, below the interpreter, and are not seen here.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

_now: list[Connects] = []
"""The one that records now, if any: a hook stays for the life of the process."""


class Connects:
    """The TCP connections tried in the time of a `with recorded()`."""

    def __init__(self) -> None:
        self.tried: list[tuple[str, int]] = []
        """Numeric address and port, in order; those of `known` are left out."""
        self.known: set[tuple[str, int]] = set()
        """The test's own servers, which may be connected to."""

    def see(self, target: Any) -> None:
        if not isinstance(target, tuple):
            return  # a socket of this machine, such as the decode processes'
        where = (str(target[0]), int(target[1]))
        if where in self.known:
            return
        self.tried.append(where)
        if not ip_address(where[0].partition("%")[0]).is_loopback:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "a test goes nowhere")


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _now:
        _now[-1].see(arguments[1])


sys.addaudithook(_hook)


@contextmanager
def recorded() -> Iterator[Connects]:
    """Record what is tried, and let nothing but loopback be reached."""
    found = Connects()
    _now.append(found)
    try:
        yield found
    finally:
        _now.remove(found)
