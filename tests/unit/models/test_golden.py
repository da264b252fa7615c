"""How far scores may move, and that what moves further is named."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.unit.models.fakes import NOT_FINITE, RECIPE, Fake
from worker.errors import Fatal
from worker.models.classifier import PixelBatch, ScoreBatch
from worker.models.prepare import pixels
from worker.models.provenance.golden import PHOTOGRAPHS, compare, outputs, photograph
from worker.models.provenance.lock import Golden
from worker.testing import RECIPE_224, FreeClassifier

LABELS = ("cat", "dog", "owl")
LOCKED = Golden("chelsea.png", "a" * 64, (0.5, 0.42, 0.08))


def trouble(scores: tuple[float, ...], precision: str) -> str | None:
    return compare(LOCKED, replace(LOCKED, scores=scores), LABELS, precision).trouble


@pytest.mark.parametrize(
    ("scores", "precision", "said"),
    [
        ((0.50009, 0.42, 0.08), "fp32", None),
        ((0.5002, 0.4198, 0.08), "fp32", "the score of 'cat' is 0.5 in the lock, 0.5002 here: more than 0.0001 apart"),
        ((0.45, 0.47, 0.08), "bf16", None),
        ((0.58, 0.34, 0.08), "bf16", None),
        ((0.61, 0.31, 0.08), "bf16", "the score of 'cat' is 0.5 in the lock, 0.61 here: more than 0.1 apart"),
    ],
)
def test_the_tolerance_is_that_of_the_precision(scores: tuple[float, ...], precision: str, said: str | None) -> None:
    assert trouble(scores, precision) == said


def test_in_a_lower_precision_the_best_label_stays_where_it_was_clear() -> None:
    clear = replace(LOCKED, scores=(0.52, 0.38, 0.1))
    found = compare(clear, replace(clear, scores=(0.44, 0.46, 0.1)), LABELS, "bf16")
    assert found.trouble == "the best label is 'cat' in the lock, 'dog' here"
    assert found.difference == pytest.approx(0.08)


def test_another_photograph_is_not_compared() -> None:
    other = compare(replace(LOCKED, sha256="b" * 64), LOCKED, LABELS, "fp32")
    assert other.trouble is not None
    assert "another photograph" in other.trouble


def test_any_classifier_gives_golden_outputs() -> None:
    found = list(outputs(FreeClassifier(7)))
    assert [golden.photograph for golden in found] == list(PHOTOGRAPHS)
    assert all(len(golden.scores) == 7 for golden in found)
    assert list(outputs(FreeClassifier(7))) == found


class NeverFinite(Fake):
    def predict(self, batch: PixelBatch) -> ScoreBatch:
        return super().predict(np.full_like(batch, NOT_FINITE))


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(Fatal, match=r"no numbers for astronaut\.png in fp32"):
        list(outputs(NeverFinite()))


def test_the_photographs_are_small_and_decode_to_the_input_size() -> None:
    assert sum(len(photograph(name)) for name in PHOTOGRAPHS) < 600_000
    for name in PHOTOGRAPHS:
        with Image.open(BytesIO(photograph(name))) as image:
            assert max(image.size) == 320
        assert pixels(RECIPE_224, BytesIO(photograph(name))).shape == (1, 224, 224, 3)
        assert pixels(RECIPE, BytesIO(photograph(name))).shape == (1, 4, 4, 3)
