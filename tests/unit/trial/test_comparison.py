"""Two reports of one manifest: McNemar's test, and what changed sides."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import comb
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trial.reports import MODEL, report, result
from worker.errors import ConfigurationError
from worker.trial.comparison import Baseline, Comparison, Result, compare, load
from worker.trial.mcnemar import p_value
from worker.trial.report import as_json, write
from worker.trial.rows import Manifest, Row
from worker.trial.words import verdict

SETTINGS = {"images.draft": 3, "images.formats": ("jpeg", "png")}


@given(st.integers(0, 60), st.integers(0, 60))
def test_p_is_the_sum_of_a_binomial_distribution(first: int, second: int) -> None:
    images = first + second
    as_uneven = [k for k in range(images + 1) if abs(2 * k - images) >= abs(first - second)]
    assert p_value(first, second) == pytest.approx(float(sum(Fraction(comb(images, k), 2**images) for k in as_uneven)))


def test_p_is_the_share_of_all_divisions_that_are_as_uneven() -> None:
    divisions = list(product((0, 1), repeat=9))
    as_uneven = sum(1 for division in divisions if min(sum(division), 9 - sum(division)) <= 2)
    assert p_value(7, 2) == p_value(2, 7) == as_uneven / len(divisions)


def test_p_of_many_images_has_no_overflow() -> None:
    assert p_value(5000, 5000) == 1
    assert 0 <= p_value(5000, 6000) < 1e-20
    assert p_value(0, 0) == 1
    assert p_value(0, 6) == 2 / 64


def baseline(results: list[Result]) -> Baseline:
    settings = {"images.draft": 3, "images.formats": ["jpeg", "png"]}
    return Baseline("image-worker evaluation 1", "yesterday", MODEL, settings, results)


BEFORE = [result(f"{n}.jpg", "a", predicted) for n, predicted in enumerate(["a", "a", "b", "b", None, "a"])]
NOW = [result(f"{n}.jpg", "a", predicted) for n, predicted in enumerate(["a", "b", "a", "b", "a", None])]


def test_images_are_joined_by_their_source_and_only_those_that_both_classified_count() -> None:
    found = compare(baseline(BEFORE[::-1]), MODEL, SETTINGS, NOW)
    assert found.images == 4
    assert (found.both_right, found.only_before, found.only_now, found.both_wrong) == (1, 1, 1, 1)
    assert (found.difference.value, found.p) == (0, 1)
    assert [(change.source, change.before, change.now) for change in found.changes] == [
        ("1.jpg", "a", "b"),
        ("2.jpg", "b", "a"),
    ]
    assert found.differing == {}


def test_what_differs_between_two_runs_is_named() -> None:
    other = replace(MODEL, precision="bf16", fingerprint="e" * 64)
    found = compare(baseline(BEFORE), other, SETTINGS | {"images.draft": 0}, NOW)
    assert found.differing == {"precision": ("fp32", "bf16"), "images.draft": (3, 0)}


def compared(both: int, before: int, now: int, wrong: int) -> Comparison:
    sides = [("a", "a")] * both + [("a", "b")] * before + [("b", "a")] * now + [("b", "b")] * wrong
    old = [result(str(n), "a", side[0]) for n, side in enumerate(sides)]
    new = [result(str(n), "a", side[1]) for n, side in enumerate(sides)]
    return compare(baseline(old), MODEL, SETTINGS, new)


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        ((80, 2, 15, 3), "This is better, by more than chance would explain (p = 0.0023)"),
        ((80, 15, 2, 3), "The baseline is better, by more than chance"),
        ((80, 4, 6, 10), "of 10 images on which only one is right, 6 are this model's"),
        ((7, 0, 0, 3), "Both are right on the same 7 of 10 images"),
    ],
)
def test_the_verdict_says_whether_it_is_chance(sides: tuple[int, int, int, int], said: str) -> None:
    found = compared(*sides)
    assert said in verdict(found)
    assert found.difference.value == pytest.approx((sides[2] - sides[1]) / sum(sides))


def manifest(*rows: tuple[str, str]) -> Manifest:
    return Manifest("m", tuple(Row("", source, source, label) for source, label in rows))


def test_a_report_is_read_back_as_a_baseline(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write(path, as_json(report(BEFORE)))
    found = load(path, manifest(*((one.source, "a") for one in BEFORE)))
    assert (found.model, list(found.results)) == (MODEL, BEFORE)
    assert compare(found, MODEL, SETTINGS, BEFORE).differing == {}


def test_a_report_of_another_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write(path, as_json(report(BEFORE)))
    rows = [(one.source, "a") for one in BEFORE[:4]] + [("4.jpg", "b"), ("new.jpg", "a"), ("newer.jpg", "a")]
    with pytest.raises(ConfigurationError, match=r"4 rows \(image and label\) are common, of 6 there and 7 here"):
        load(path, manifest(*rows))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "image-worker evaluation 2"}'])
def test_what_is_no_report_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ConfigurationError, match="is no report that this version reads"):
        load(tmp_path / "r.json", manifest(("a", "b")))
    with pytest.raises(ConfigurationError, match="No such file"):
        load(tmp_path / "missing.json", manifest(("a", "b")))
