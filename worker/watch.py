"""Outcomes as they are published: read from their topics, and shown to people or as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from worker.kafka.classification import shown
from worker.kafka.outcomes import DeadLetter, OutcomeDecoder
from worker.kafka.points import Point
from worker.kafka.reader import Reader
from worker.printable import printable
from worker.records import SourceRecord
from worker.settings import Settings

_BAR_CELLS = 10
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Seen:
    """One record of a topic of outcomes. All of the last three are None for a tombstone."""

    record: SourceRecord
    classification: dict[str, Any] | None = None
    dead_letter: DeadLetter | None = None
    problem: str | None = None
    """Why the record cannot be read as an outcome."""


def outcome_topics(settings: Settings, dead_letters: bool) -> list[str]:
    """The topics that hold dead letters, or classifications: the results, and the topics of actions."""
    topics = settings.kafka.topics
    return [topics.dead_letters] if dead_letters else [topics.results, *settings.policy.topics.values()]


async def follow(settings: Settings, topics: Sequence[str], start: Point) -> AsyncGenerator[Seen, None]:
    """Outcomes as they come, without an end; close it. Raises Fatal where the topics cannot be read."""
    reader = await asyncio.to_thread(Reader, settings.kafka, topics, start)
    decoder = OutcomeDecoder(settings.events)
    try:
        while True:
            record = await _to_the_end(reader.read, _POLL_S)
            if record is not None:
                yield await _look(record, decoder, settings.kafka.topics.dead_letters)
    finally:
        reader.close()
        await decoder.close()


async def _to_the_end(read: Callable[[float], SourceRecord | None], timeout_s: float) -> SourceRecord | None:
    """Read in a thread, which is waited for even when cancelled: a consumer must not be closed while it is polled."""
    task = asyncio.ensure_future(asyncio.to_thread(read, timeout_s))
    try:
        return await asyncio.shield(task)
    finally:
        await asyncio.wait([task])


async def _look(record: SourceRecord, decoder: OutcomeDecoder, dead_letters: str) -> Seen:
    """What a record of a topic of outcomes holds."""
    try:
        if record.coordinates.topic == dead_letters:
            return Seen(record, dead_letter=await decoder.dead_letter(record))
        return Seen(record, classification=await decoder.classification(record.value)) if record.value else Seen(record)
    except ValueError as error:
        return Seen(record, problem=str(error))


def as_json(seen: Seen) -> dict[str, Any]:
    """The fields of `watch --json`."""
    where = seen.record.coordinates
    row = {"topic": where.topic, "partition": where.partition, "offset": where.offset}
    row |= {"timestamp_ms": seen.record.timestamp_ms, "key": _text(seen.record.key)}
    row |= {"classification": seen.classification, "dead_letter": _letter(seen), "problem": seen.problem}
    return row


def as_line(seen: Seen) -> Text:
    """One line for people, in columns."""
    where = Text(f"{seen.record.coordinates!s:<26} ", style="dim")
    if seen.problem is not None:
        return where + Text(f"unreadable: {printable(seen.problem)}", style="yellow")
    if seen.dead_letter is not None:
        return where + _dead_letter_line(seen.dead_letter)
    if seen.classification is not None:
        return where + _classification_line(seen.classification, _text(seen.record.key))
    return where + Text(f"tombstone  {printable(_text(seen.record.key) or '')}", style="dim")


def bar(score: float, cells: int = _BAR_CELLS) -> str:
    """A score from 0 to 1 as a bar of so many cells."""
    full = round(score * cells)
    return "█" * full + "·" * (cells - full)


def _classification_line(event: dict[str, Any], key: str | None) -> Text:
    decision, reference = event["decision"], event.get("reference") or {}
    label, score = printable(str(decision.get("label"))), float(decision.get("score") or 0.0)
    name = reference.get("url") or reference.get("id") or key or (event.get("image") or {}).get("sha256")
    if (why := event.get("unscannable")) is not None:
        return _unscannable_line(printable(str(decision.get("action"))), why, printable(str(name)))
    return Text.assemble(
        (f"{label:<24} ", "bold"),
        (f"{bar(score)} ", "cyan"),
        f"{score:.3f}  {printable(str(decision.get('action'))):<8} ",
        (printable(str(name)), "dim"),
    )


def _unscannable_line(action: str, why: dict[str, Any], name: str) -> Text:
    return Text.assemble(
        ("unscannable              ", "bold red"),
        f"{printable(str(why.get('reason')))}: {printable(str(why.get('detail')))}  {action:<8} ",
        (name, "dim"),
    )


def _dead_letter_line(letter: DeadLetter) -> Text:
    name = shown(letter.reference.address) or letter.reference.id or ""
    source = f"{letter.topic}[{letter.partition}]@{letter.offset}"
    return Text.assemble(
        (f"{printable(letter.reason):<20} ", "bold red"),
        f"{printable(letter.detail)}  ",
        (printable(f"{source}  {name}".rstrip()), "dim"),
    )


def _letter(seen: Seen) -> dict[str, Any] | None:
    letter = seen.dead_letter
    if letter is None:
        return None
    row = {name: getattr(letter, name) for name in ("reason", "stage", "detail", "topic", "partition", "offset")}
    return row | {"url": shown(letter.reference.address), "id": letter.reference.id}


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "replace")
