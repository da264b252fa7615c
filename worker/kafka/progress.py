"""How far a partition is done: every record before an offset, and of those after it the ones that were done early.

PURE. It travels in the commit: the offset, and in its metadata what else is done, so that a restart or a new owner
repeats only what is not. A broker takes 4,096 bytes of metadata by default (`offset.metadata.max.bytes`).

The metadata reads `image-worker/1;topic=ID;until=120;done=BASE64`, each part where there is something to say. `topic`
is the topic's id (KIP-516), since offsets of one that was deleted and made again count another log. `done` holds
alternately the length of a stretch that is not done and of one that is, from the offset on, as varints (LEB128). What
is settled next never makes the rest longer: a stretch that becomes part of the offset only drops out. So whatever fits
once is never in the way of the records that it waits for.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

Span = tuple[int, int]
"""Offsets from the first on and before the second."""

METADATA_LIMIT = 4000
"""Characters, all ASCII."""
_OVERHEAD = 64
"""More than the characters beside those of `done`, and its padding."""
_MOST_OCTETS = 10
"""Of two more varints, of stretches below 2**35."""
_FAMILY = "image-worker/"
_MARK = f"{_FAMILY}1"


@dataclass(frozen=True, slots=True)
class Progress:
    """All records before `base` are done, and those in the spans after it: sorted, and none touches another."""

    base: int
    done: tuple[Span, ...] = ()
    until: int | None = None
    """Of a replay, the offset at which this partition ends."""
    asked: str | None = None
    """Of a replay, a digest of what was asked for: the same id must not be used for two questions."""
    topic_id: str | None = None
    """Of the topic whose offsets these are, in base64 as Kafka writes it; None where it is not known."""

    def after(self, spans: Iterable[Span]) -> Progress:
        """The progress when these are done as well."""
        base, done = self.base, []
        for start, end in _joined(sorted((*self.done, *spans))):
            if start <= base:
                base = max(base, end)
            else:
                done.append((start, end))
        return replace(self, base=base, done=tuple(done))

    def __contains__(self, offset: int) -> bool:
        """Whether the record at an offset is done."""
        if offset < self.base:
            return True
        place = bisect_right(self.done, offset, key=lambda span: span[0])
        return place > 0 and offset < self.done[place - 1][1]

    def includes(self, other: Progress) -> bool:
        """Whether all that is done by the other is done by this one as well."""
        return self.after([(0, other.base), *other.done]) == self

    def may_be_of(self, topic_id: str | None) -> bool:
        """Whether these may be offsets of the topic that has this id: not where both ids are known, and differ."""
        return topic_id is None or self.topic_id is None or topic_id == self.topic_id

    def left_before(self, offset: int) -> int:
        """How many offsets before this one are not done."""
        passed = self.after([(0, offset)])
        return passed.base + passed.ahead - self.base - self.ahead

    @property
    def ahead(self) -> int:
        """How many offsets after the base are done."""
        return sum(end - start for start, end in self.done)

    @property
    def metadata(self) -> str:
        """What is committed with the offset; empty where the offset says it all."""
        parts = [_MARK]
        if self.topic_id is not None:
            parts.append(f"topic={self.topic_id}")
        if self.until is not None:
            parts.append(f"until={self.until}")
        if self.asked is not None:
            parts.append(f"asked={self.asked}")
        if self.done:
            parts.append("done=" + b64encode(b"".join(map(_varint, self._stretches()))).decode())
        return ";".join(parts) if len(parts) > 1 else ""

    @property
    def fits(self) -> bool:
        """Whether a broker takes the metadata."""
        return len(self.metadata) <= METADATA_LIMIT

    @property
    def room(self) -> int:
        """How many more records surely fit, wherever they lie. One splits a stretch in two, with its own between."""
        return max(0, (METADATA_LIMIT - _OVERHEAD - len(self.metadata)) * 3 // 4 // _MOST_OCTETS)

    def _stretches(self) -> Iterator[int]:
        at = self.base
        for start, end in self.done:
            yield start - at
            yield end - start
            at = end


def parse(offset: int, metadata: str | None) -> Progress:
    """The progress of a commit. Metadata of others says nothing. Raises ValueError where ours cannot be read."""
    mark, *parts = (metadata or "").split(";")
    if not mark.startswith(_FAMILY):
        return Progress(offset)
    if mark != _MARK:
        raise ValueError(f"it was written by another release: {mark}")
    fields = dict(part.split("=", 1) for part in parts)
    until = int(fields["until"]) if "until" in fields else None
    progress = Progress(offset, until=until, asked=fields.get("asked"), topic_id=fields.get("topic"))
    return progress.after(_spans(offset, b64decode(fields.get("done", ""), validate=True)))


def _spans(at: int, octets: bytes) -> Iterator[Span]:
    lengths = _varints(octets)
    for undone, done in zip(lengths, lengths, strict=True):
        at += undone + done
        yield at - done, at


def _joined(spans: Iterable[Span]) -> Iterator[Span]:
    """Sorted spans, with those that touch or overlap made one."""
    whole: Span | None = None
    for start, end in spans:
        if whole is None or start > whole[1]:
            if whole is not None:
                yield whole
            whole = (start, end)
        else:
            whole = (whole[0], max(whole[1], end))
    if whole is not None:
        yield whole


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def _varints(octets: bytes) -> Iterator[int]:
    number = shift = 0
    for octet in octets:
        number |= (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("a number is cut off")
