"""The labels of a manifest, found among a model's."""

from __future__ import annotations

import numpy as np
import pytest

from worker.errors import ConfigurationError
from worker.trial.classes import Classes, find
from worker.trial.rows import Manifest, Row

LABELS = ("tabby", "crane", "tiger cat", "crane", "4")
"""Two cranes, as ImageNet has them."""


def found(*written: str) -> tuple[Classes, list[int]]:
    rows = tuple(Row(f"line {number}", f"{number}.jpg", "", label) for number, label in enumerate(written, 2))
    classes, truth = find(Manifest("m.csv", rows), LABELS)
    return classes, truth.tolist()


def complaint(*written: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        found(*written)
    return str(caught.value)


def test_a_label_is_a_name_or_an_index() -> None:
    classes, truth = found("tabby", "2", "tiger cat", "0")
    assert truth == [0, 2, 2, 0]
    assert classes.names[:3] == ("tabby", "crane (1)", "tiger cat")


def test_a_name_may_have_an_underscore_for_a_space() -> None:
    _, truth = found("tiger_cat", "tiger cat")
    assert truth == [2, 2]
    assert "no label 'tiger-cat'" in complaint("tiger-cat")


def test_a_name_wins_over_an_index() -> None:
    classes, (four,) = found("4")
    assert classes.names[four] == "4"


def test_an_ambiguous_name_makes_its_labels_one() -> None:
    classes, truth = found("crane", "tabby", "2")
    assert classes.names == ("tabby", "crane (1 or 3)", "tiger cat", "4")
    assert truth == [1, 0, 2]
    scores = classes.scores(np.array([0.1, 0.2, 0.25, 0.4, 0.05], np.float32))
    assert scores.tolist() == pytest.approx([0.1, 0.4, 0.25, 0.05])


def test_by_their_indexes_they_stay_apart() -> None:
    classes, truth = found("1", "3")
    assert truth == [1, 3]
    assert (classes.names[1], classes.names[3]) == ("crane (1)", "crane (3)")
    raw = np.array([0.1, 0.2, 0.25, 0.4, 0.05], np.float32)
    assert classes.scores(raw) is raw


def test_a_manifest_that_has_both_is_refused() -> None:
    assert complaint("crane", "3") == (
        "m.csv: line 3 has the index 3, and other rows the name 'crane', which stands for 1 or 3: write its index in"
        " all rows, or its name"
    )


def test_a_label_that_the_model_lacks_is_named_with_its_rows_and_what_may_be_meant() -> None:
    lines = complaint("taby", "taby", "5", "unlike anything", "tabby").splitlines()
    assert lines == [
        "m.csv: the model has no label 'taby' (2 rows, the first at line 2); did you mean 'tabby'?",
        "m.csv: the model has no label '5' (1 row at line 4); its indexes go from 0 to 4",
        "m.csv: the model has no label 'unlike anything' (1 row at line 5); it has tabby, crane, tiger cat, crane, 4,"
        " ...",
    ]


def test_a_header_taken_for_a_row_is_guessed() -> None:
    rows = (Row("line 1", "foto", "", "art"), Row("line 2", "a.jpg", "", "tabby"))
    with pytest.raises(ConfigurationError, match="if that line is a header, name its columns with --image-column"):
        find(Manifest("m.csv", rows), LABELS)
