"""Images that nobody made on purpose: files of a corpus, changed by a seed and a number, the same each time.

`Mutants(files, seed)[number]` is one of them. Formats that are decoded come up more often than the others, small files
more often than large ones. Between one and three changes are made to each; a PNG gets right checksums half the time,
since its decoder looks no further than a wrong one.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.hostile import pieces

_HALF_AS_LIKELY_BYTES = 16_000
"""A file of this size comes up half as often as an empty one, so that a run is about many images and not about few."""
_ODD_ONES = 0.1
"""The share of files whose format no setting decodes."""
_LARGEST_BYTES = 2_000_000
_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Numbers at which lengths and sizes overflow, or nearly do."""

Change = Callable[[random.Random, bytearray, "Mutants"], bytearray]


@dataclass(frozen=True, slots=True)
class Sample:
    """A file that mutations begin with."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed file, and how to speak of it."""

    name: str
    """Number, file and changes, such as `17: hopper.png, flipped, cut`."""
    data: bytes


class Mutants(Sequence[Mutant]):
    """As many mutations as asked for; each is made when it is looked at."""

    def __init__(self, samples: Sequence[Sample], seed: int, count: int) -> None:
        self._samples = samples
        self._seed = seed
        self._count = count
        groups: dict[str, list[Sample]] = {}
        for sample in samples:
            groups.setdefault(pieces.kind(sample.data), []).append(sample)
        self._odd = groups.pop("", [])
        self._decodable = list(groups.values())

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Mutant:  # type: ignore[override]
        if not 0 <= number < self._count:
            raise IndexError(number)
        rng = random.Random(f"{self._seed}/{number}")
        sample = self.pick(rng)
        data, names = bytearray(sample.data), []
        for change in rng.choices(CHANGES, k=rng.choice((1, 1, 2, 3))):
            data = change(rng, data, self)[:_LARGEST_BYTES]
            names.append(change.__name__)
        if rng.random() < 0.5:
            data = pieces.with_right_checksums(data)
        return Mutant(f"{number}: {sample.name}, {', '.join(names)}", bytes(data))

    def pick(self, rng: random.Random) -> Sample:
        """A file: each format as often as any other, of each the small files more often."""
        odd = self._odd and (rng.random() < _ODD_ONES or not self._decodable)
        group = self._odd if odd else rng.choice(self._decodable)
        weights = [1 / (1 + len(sample.data) / _HALF_AS_LIKELY_BYTES) for sample in group]
        return rng.choices(group, weights)[0]


def samples(folder: Path) -> list[Sample]:
    """Every file below a folder, the smallest first."""
    found = [Sample(path.name, path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return sorted(found, key=lambda sample: len(sample.data))


def flipped(rng: random.Random, data: bytearray, _: Mutants) -> bytearray:
    """Some bits are turned over."""
    for _n in range(rng.choice((1, 1, 2, 8, 64)) if data else 0):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def changed(rng: random.Random, data: bytearray, _: Mutants) -> bytearray:
    """Some bytes are others."""
    for _n in range(rng.choice((1, 2, 4, 32)) if data else 0):
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return data


def head_changed(rng: random.Random, data: bytearray, _: Mutants) -> bytearray:
    """Bytes of the first 128 are others: there stand sizes, depths and kinds."""
    for _n in range(rng.choice((1, 2, 4)) if data else 0):
        data[rng.randrange(min(128, len(data)))] = rng.randrange(256)
    return data


def cut(rng: random.Random, data: bytearray, _: Mutants) -> bytearray:
    """The end is missing."""
    return data[: rng.randrange(len(data) + 1)]


def holed(rng: random.Random, data: bytearray, _: Mutants) -> bytearray:
    """A part in the middle is missing."""
    start, end = _span(rng, data)
    return data[:start] + data[end:]


def zeroed(rng: random.Random, data: bytearray, _: Mutants) -> bytearray:
    """A part in the middle is zeros."""
    start, end = _span(rng, data)
    return data[:start] + bytes(end - start) + data[end:]


def repeated(rng: random.Random, data: bytearray, _: Mutants) -> bytearray:
    """A part comes several times."""
    start, end = _span(rng, data)
    return data[:end] + data[start:end] * rng.choice((1, 2, 10)) + data[end:]


def noisy(rng: random.Random, data: bytearray, _: Mutants) -> bytearray:
    """Bytes of no meaning are put in."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice((1, 2, 4, 1000))) + data[at:]


def spliced(rng: random.Random, data: bytearray, all_: Mutants) -> bytearray:
    """The head of one file and the tail of another."""
    other = all_.pick(rng).data
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def number_set(rng: random.Random, data: bytearray, _: Mutants) -> bytearray:
    """Two or four bytes, mostly of the head, are a number at which something overflows."""
    width, order = rng.choice((2, 4)), rng.choice(("<", ">"))
    if len(data) < width:
        return data
    within = len(data) if rng.random() < 0.3 else min(512, len(data))
    value = rng.choice(_EDGES) & (256**width - 1)
    struct.pack_into(order + {2: "H", 4: "I"}[width], data, rng.randrange(within - width + 1), value)
    return data


def grown(rng: random.Random, data: bytearray, _: Mutants) -> bytearray:
    """The head declares another size, mostly a larger one."""
    for field in pieces.sizes(data):
        if rng.random() < 0.7:
            factor = rng.choice((2, 3, 10, 50, 1000))
            value = rng.choice((field.value(data) * factor, rng.choice(_EDGES), rng.randrange(1, 20_000)))
            field.put(data, value)
    return pieces.with_right_checksums(data)


def piece_dropped(rng: random.Random, data: bytearray, _: Mutants) -> bytearray:
    """A chunk, segment or box is missing."""
    parts = pieces.split(data)
    del parts[rng.randrange(len(parts))]
    return bytearray().join(parts)


def piece_repeated(rng: random.Random, data: bytearray, _: Mutants) -> bytearray:
    """A chunk, segment or box comes again and again."""
    parts = pieces.split(data)
    at = rng.randrange(len(parts))
    parts[at:at] = [parts[at]] * rng.choice((1, 1, 5, 100))
    return bytearray().join(parts)


def pieces_swapped(rng: random.Random, data: bytearray, _: Mutants) -> bytearray:
    """Two chunks, segments or boxes stand in each other's place."""
    parts = pieces.split(data)
    one, other = rng.randrange(len(parts)), rng.randrange(len(parts))
    parts[one], parts[other] = parts[other], parts[one]
    return bytearray().join(parts)


def piece_borrowed(rng: random.Random, data: bytearray, all_: Mutants) -> bytearray:
    """A chunk, segment or box of another file stands in between."""
    parts = pieces.split(data)
    parts.insert(rng.randrange(len(parts) + 1), rng.choice(pieces.split(bytearray(all_.pick(rng).data))))
    return bytearray().join(parts)


def length_set(rng: random.Random, data: bytearray, _: Mutants) -> bytearray:
    """A chunk, segment or box says that it is longer or shorter than it is."""
    fields = pieces.lengths(data)
    if fields:
        field = rng.choice(fields)
        field.put(data, rng.choice((field.value(data) + rng.randrange(-8, 9), rng.choice(_EDGES))))
    return data


def recompressed(rng: random.Random, data: bytearray, _: Mutants) -> bytearray:
    """A PNG's pixels are others, rightly compressed: shorter, longer or of noise."""
    if pieces.kind(data) != "png":
        return flipped(rng, data, _)
    parts = pieces.split(data)
    at = [index for index, part in enumerate(parts) if part[4:8] == b"IDAT"]
    raw = rng.choice((b"", rng.randbytes(1000), bytes(rng.choice((10, 100_000, 50_000_000)))))
    for index in reversed(at[1:]):
        del parts[index]
    if at:
        parts[at[0]] = pieces.png_chunk(b"IDAT", _compressed(raw))
    return bytearray().join(parts)


@cache
def _compressed(raw: bytes) -> bytes:
    return zlib.compress(raw, 1)


def _span(rng: random.Random, data: bytearray) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 4, 16, 256, 4096)))


CHANGES: tuple[Change, ...] = (
    *(flipped, changed, head_changed, cut, holed, zeroed, repeated, noisy, spliced, number_set, grown, length_set),
    *(piece_dropped, piece_repeated, pieces_swapped, piece_borrowed, recompressed),
)
