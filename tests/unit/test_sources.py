"""What the words of a command line name."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.sources import expand, is_address


@pytest.mark.parametrize("word", ["http://a", "HTTPS://a/b", "data:,x", "file:/a", "s3://bucket/key"])
def test_an_address_has_a_scheme(word: str) -> None:
    assert is_address(word)


@pytest.mark.parametrize("word", ["picture.jpg", "/a/b", "./a:b", "C:picture", "-"])
def test_everything_else_is_a_path(word: str) -> None:
    assert not is_address(word)


def test_a_directory_is_its_regular_files_whatever_their_names_sorted(tmp_path: Path) -> None:
    for name in ("b", "a/z.jpg", "a/.hidden", "c\n.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    found = [str(Path(word).relative_to(tmp_path)) for word in expand([str(tmp_path)])]
    assert found == ["a/.hidden", "a/z.jpg", "b", "c\n.gif"]


def test_words_keep_their_order_and_what_is_missing_stays(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    words = ["http://a", "-", "/missing", str(tmp_path)]
    assert list(expand(words)) == ["http://a", "-", "/missing", str(tmp_path / "x")]
