"""What other people's errors say, in the one line that an operator reads."""

from __future__ import annotations

from worker.printable import printable


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it says nothing."""
    return printable(next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__))
