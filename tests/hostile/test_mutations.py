"""Mutations of Pillow's odd and broken images: each ends in pixels or a reason, in time and within its memory.

`make hostile` does the same with ten times as many, and more if asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from tests.clusters import jpeg
from tests.hostile.mutations import Mutant, Mutants, Sample, samples
from tests.hostile.trial import Trial, trial
from worker.errors import Reason, Rejected
from worker.images.decode_settings import Format
from worker.images.pool import DecodePool

_COUNT = 2000
SOME = [Sample("good.jpg", jpeg(200)), Sample("words.txt", b"no image at all")]


@pytest.mark.corpus
@pytest.mark.parametrize("settings", [{}, {"formats": get_args(Format)}], ids=["default formats", "all formats"])
async def test_every_mutation_ends_in_pixels_or_a_reason(corpus: Path, settings: dict[str, object]) -> None:
    found = await trial(Mutants(samples(corpus / "pillow"), seed=4, count=_COUNT), **settings)
    assert found.strange == []
    assert sum(found.ends.values()) == _COUNT
    assert found.kept
    assert {"pixels", "broken_image", "not_an_image", "too_many_pixels"} <= found.ends.keys(), "what is tried is varied"


def test_a_mutation_is_the_same_each_time_it_is_made() -> None:
    once, again = Mutants(SOME, 7, 100), Mutants(SOME, 7, 50)
    assert list(once)[:50] == list(again)
    assert list(Mutants(SOME, 8, 50)) != list(again)
    assert len({mutant.data for mutant in once}) > 50


@pytest.mark.parametrize("end", [RuntimeError("broken"), Rejected(Reason.INTERNAL_ERROR, "broken")])
async def test_an_image_that_ends_otherwise_is_told(monkeypatch: pytest.MonkeyPatch, end: Exception) -> None:
    whole = DecodePool.decode

    async def fail(pool: DecodePool, encoded: object) -> object:
        if encoded.data == b"words":  # type: ignore[attr-defined]
            raise end
        return await whole(pool, encoded)  # type: ignore[arg-type]

    monkeypatch.setattr(DecodePool, "decode", fail)
    found = await trial([Mutant("0: good", jpeg(1)), Mutant("1: words", b"words")], decode_processes=1)
    assert [strange.mutant.name for strange in found.strange] == ["1: words"]
    assert not found.kept


def test_an_image_beyond_its_time_is_told() -> None:
    found = Trial(limit_s=1.0, processes=1, process_limit_bytes=0, memory_bound_bytes=0)
    found.note(Mutant("0: slow", b""), "pixels", "", took_s=5.0)
    assert found.strange[0].what == "pixels after 5.0 s, the limit is 1 s"
