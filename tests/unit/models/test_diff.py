"""What a reviewer is shown of two locks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.models.test_lock import LOCK
from worker.models.provenance.diff import changes
from worker.models.provenance.lock import Licence, LockedFile

CAT, CUP = LOCK.golden


def rows(**edits: Any) -> list[tuple[str, str, str]]:
    return [(row.subject, row.before, row.after) for row in changes(LOCK, replace(LOCK, **edits))]


def test_nothing_changed_is_nothing_shown() -> None:
    assert rows() == []


@pytest.mark.parametrize(
    ("edits", "row"),
    [
        ({"revision": "1" * 40}, ("revision", "0" * 40, "1" * 40)),
        ({"base_models": ()}, ("base_models", "google/vit-base-patch16-224", "-")),
        ({"licence": Licence("mit", LOCK.licence.name, LOCK.licence.link)}, ("licence.id", "other", "mit")),
        ({"recipe": replace(LOCK.recipe, resample=2)}, ("recipe.resample", "3", "2")),
        ({"labels": ("cat", "crane", "crane", "\x1b[2J")}, ("label 3", "owl", "\\x1b[2J")),
        ({"versions": {"torch": "2.14.0"}}, ("version of torch", "2.13.0", "2.14.0")),
        ({"files": LOCK.files[1:]}, ("file config.json", f"3 bytes, sha256 {'a' * 16}", "-")),
        (
            {"files": (*LOCK.files, LockedFile("new.json", 2, "f" * 64))},
            ("file new.json", "-", f"2 bytes, sha256 {'f' * 16}"),
        ),
        ({"exports": ()}, ("export name.onnx", f"7 bytes, sha256 {'e' * 16}", "-")),
        ({"golden": (CAT, replace(CUP, photograph="mug.png"))}, ("scores of mug.png", "-", "owl 0.4")),
        (
            {"golden": (replace(CAT, scores=(0.6, 0.2, 0.15, 0.05)), CUP)},
            ("scores of cat.png", "cat 0.7", "cat 0.6, largest change 1.0e-01 (crane)"),
        ),
    ],
)
def test_each_change_is_a_row(edits: dict[str, Any], row: tuple[str, str, str]) -> None:
    assert rows(**edits) == [row]


def test_another_number_of_labels_is_no_difference_of_scores() -> None:
    shorter = replace(CAT, scores=(0.8, 0.2)), replace(CUP, scores=(0.3, 0.7))
    assert [row[0] for row in rows(labels=("cat", "crane"), golden=shorter)] == [
        *("label 2", "label 3", "scores of cat.png", "scores of cup.png"),
    ]
