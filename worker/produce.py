"""Events from words, directories, files of lines and stdin into a topic."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Never

from worker.errors import Fatal
from worker.kafka.events import Event, EventMaker
from worker.kafka.writer import Writer
from worker.sources import STDIN, below, is_address

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Offer:
    """One event to be, made when its turn comes, so that of many files one at a time is in memory."""

    name: str
    make: Callable[[], Event]


def from_all(words: Iterable[str], directory: Path | None, file: Path | None, maker: EventMaker) -> Iterator[Offer]:
    """The events of all that a command line names. Raises Fatal where `file` cannot be read."""
    yield from _from_words(words, maker)
    if directory is not None:
        yield from _from_directory(directory, maker)
    if file is not None:
        yield from _from_file(file, maker)


def _from_words(words: Iterable[str], maker: EventMaker) -> Iterator[Offer]:
    """Addresses and files as they stand; for `-` the lines of stdin."""
    for word in words:
        if word == STDIN:
            yield from _from_lines(sys.stdin, "stdin", maker)
        elif is_address(word):
            yield Offer(word, partial(maker.of_address, word))
        elif Path(word).is_file():
            yield Offer(word, partial(maker.of_file, Path(word), Path(word).name))
        else:
            yield Offer(word, partial(_refuse, word))


def _refuse(word: str) -> Never:
    raise ValueError("a directory: name it with --dir" if Path(word).is_dir() else "neither an address nor a file")


def _from_directory(directory: Path, maker: EventMaker) -> Iterator[Offer]:
    """Every regular file below the directory, sorted, its path below it as id."""
    for path in sorted(below(str(directory))):
        yield Offer(str(path), partial(maker.of_file, path, str(path.relative_to(directory))))


def _from_file(file: Path, maker: EventMaker) -> Iterator[Offer]:
    """The lines of a file. Raises Fatal where it cannot be read."""
    try:
        with file.open(encoding="utf-8") as lines:
            yield from _from_lines(lines, str(file), maker)
    except OSError as error:
        raise Fatal(f"--file {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Fatal(f"--file {file} is not text in UTF-8: {error.reason} at byte {error.start}") from error


def _from_lines(lines: Iterable[str], name: str, maker: EventMaker) -> Iterator[Offer]:
    for number, line in enumerate(lines, start=1):
        if text := line.strip():
            yield Offer(f"{name}:{number}", partial(maker.of_line, text))


def send(offers: Iterable[Offer], writer: Writer) -> None:
    """Send all that can be sent and wait for the delivery reports. Raises Fatal at the end where any was not."""
    unmade: list[str] = []
    try:
        for offer in offers:
            try:
                writer.write(offer.make())
            except (OSError, ValueError) as error:
                unmade.append(f"{offer.name}: {error}")
    finally:
        writer.finish()
    failures = [*unmade, *writer.failures]
    if failures:
        raise Fatal(_summary(failures, writer.delivered + len(failures)))


def _summary(failures: Sequence[str], total: int) -> str:
    more = [f"and {len(failures) - _SHOWN} more"] if len(failures) > _SHOWN else []
    return "\n".join([f"{len(failures)} of {total} events were not sent", *failures[:_SHOWN], *more])
