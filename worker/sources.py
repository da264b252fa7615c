"""What the words of a command line name: addresses, files, directories, stdin."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_ADDRESS = re.compile(r"(https?|data|file):|[a-z][a-z0-9+.-]*://", re.IGNORECASE)
STDIN = "-"


def is_address(text: str) -> bool:
    """Whether a word of a command line is an address; else it is a path."""
    return _ADDRESS.match(text) is not None


def expand(words: Iterable[str]) -> Iterator[str]:
    """The words of a command line, with the regular files below it in the place of a directory, sorted.

    A directory that cannot be read stays in the list, to be rejected like a file that cannot be read.
    """
    for word in words:
        if word == STDIN or is_address(word) or not os.path.isdir(word):
            yield word
        else:
            yield from map(str, sorted(below(word)))


def below(directory: str) -> Iterator[Path]:
    """Every regular file below a directory, and every directory there that cannot be read."""
    unreadable: list[OSError] = []
    for folder, _, names in os.walk(directory, onerror=unreadable.append):
        yield from (path for name in names if os.path.isfile(path := Path(folder, name)))
    yield from (Path(error.filename) for error in unreadable)
