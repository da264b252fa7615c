"""The lock file: what is written is what is read, and nothing in it can be changed unseen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import ConfigurationError, Fatal
from worker.models.provenance.lock import (
    Export,
    Golden,
    Licence,
    Lock,
    LockedFile,
    as_toml,
    parse,
    read,
    significant,
    write,
)
from worker.testing import RECIPE_224

LOCK = Lock(
    source=f"owner/name@{'0' * 40}",
    name="owner/name",
    revision="0" * 40,
    architecture="ViTForImageClassification",
    base_models=("google/vit-base-patch16-224",),
    licence=Licence("other", "a licence of its own", "https://example.com/licence"),
    recipe=RECIPE_224,
    labels=("cat", "crane", "crane", "owl"),
    versions={"torch": "2.13.0"},
    files=(LockedFile("config.json", 3, "a" * 64), LockedFile("model.safetensors", 5, "b" * 64)),
    golden=(Golden("cat.png", "c" * 64, (0.7, 0.1, 0.15, 0.05)), Golden("cup.png", "d" * 64, (0.1, 0.2, 0.3, 0.4))),
    exports=(Export("name.onnx", 7, "e" * 64, "fp32", {"largest_difference": 1e-7}),),
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write(LOCK, tmp_path / "name.lock.toml")
    assert read(tmp_path / "name.lock.toml") == LOCK
    assert [path.name for path in tmp_path.iterdir()] == ["name.lock.toml"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=8), st.floats(0, 1))
def test_any_label_and_score_survives(labels: list[str], score: float) -> None:
    golden = Golden("cat.png", "c" * 64, significant([score] * len(labels)))
    lock = replace(LOCK, labels=tuple(labels), golden=(golden,))
    assert parse(as_toml(lock), "x") == lock


def test_what_a_card_does_not_say_is_left_out() -> None:
    lock = replace(LOCK, licence=Licence(), base_models=(), exports=())
    assert parse(as_toml(lock), "x") == lock


def test_a_reviewer_reads_the_source_first_a_line_for_each_label_and_the_scores_last() -> None:
    lines = as_toml(LOCK).splitlines()
    assert lines[1].startswith("source = ")
    assert '    "crane",' in lines
    heads = [line.strip("[]") for line in lines if line.startswith("[")]
    assert heads == [
        *("licence", "recipe", "labels", "versions", "files", "files", "exports", "golden", "golden", "scores"),
    ]


def test_a_sign_that_hides_is_written_as_its_code() -> None:
    text = as_toml(replace(LOCK, labels=("cat\u202e", "\x1b[2J", "é", "owl")))
    assert all(line.isprintable() for line in text.splitlines())
    assert '"cat\\U0000202E"' in text
    assert '"é"' in text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("format = 1", "format = 2", "format 2"),
        ('label = "cat"', 'label = "dog"', "golden"),
        ("score = 0.7}", "score = 0.8}", "golden"),
        ('    "owl",\n', "", "one score for each"),
        ("0.7, 0.1,", '"high", 0.1,', "scores"),
        ('[scores]\n"cat.png"', '[scores]\n"dog.png"', "cat.png"),
        ('id = "other"', 'id = "other"\nnote = "fine"', "licence"),
        ("height = 224", "height = 224\nheigth = 224", "recipe"),
        ("size = 3", 'size = "3"', "files"),
        ('architecture = "', 'unheard_of = "', "architecture"),
        ("format = 1", "format = ", "not TOML"),
    ],
)
def test_a_lock_that_was_edited_is_refused_by_name(old: str, new: str, said: str) -> None:
    text = as_toml(LOCK)
    assert old in text
    with pytest.raises(ConfigurationError, match=said) as caught:
        parse(text.replace(old, new, 1), "name.lock.toml")
    assert "name.lock.toml" in str(caught.value)


def test_a_lock_that_cannot_be_read_or_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read(tmp_path / "none.lock.toml")
    with pytest.raises(Fatal, match="cannot be written"):
        write(LOCK, tmp_path / "nowhere" / "name.lock.toml")


def test_scores_have_six_significant_digits() -> None:
    assert significant([0.123456789, 1.23456789e-9, 0.0, 1.0]) == (0.123457, 1.23457e-9, 0.0, 1.0)
