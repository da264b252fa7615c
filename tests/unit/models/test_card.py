"""What cards say of licences, and what strangers write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.models.provenance import card
from worker.models.provenance.lock import Licence


def said(text: str, tmp_path: Path) -> tuple[Licence, tuple[str, ...]]:
    (tmp_path / "README.md").write_text(text)
    return card.read(tmp_path)


def test_a_licence_is_read_with_its_name_and_link(tmp_path: Path) -> None:
    head = "license: other\nlicense_name: the-licence\nlicense_link: https://example.com/l\nbase_model: a/b"
    licence, base_models = said(f"---\n{head}\n---\n# Model\n", tmp_path)
    assert licence == Licence("other", "the-licence", "https://example.com/l")
    assert base_models == ("a/b",)


def test_several_base_models_and_several_licences_are_read(tmp_path: Path) -> None:
    licence, base_models = said("---\nlicense: [mit, apache-2.0]\nbase_model: [a/b, c/d]\n---\n", tmp_path)
    assert licence.id == "mit, apache-2.0"
    assert base_models == ("a/b", "c/d")


@pytest.mark.parametrize(
    "text",
    [
        "# A model\n\nlicense: mit\n",
        "---\nlanguage: en\n---\n",
        "---\nlicense:\n---\n",
        "---\nlicense: {mit: yes}\n---\n",
        "---\nlicense: 7\n---\n",
        "---\nlicense: [mit\n---\n",
        "---\nlicense: &a [*a]\n---\n",
        "---\n- license\n---\n",
        "---\n" + "[" * 10_000 + "\n---\n",
        "---\nlicense: mit\n---\n" + "x" * (1 << 20),
        "",
    ],
)
def test_a_card_that_states_no_licence_leaves_it_unknown(text: str, tmp_path: Path) -> None:
    assert said(text, tmp_path) == (Licence("unknown"), ())


def test_no_card_and_a_card_that_is_no_text_leave_it_unknown(tmp_path: Path) -> None:
    assert card.read(tmp_path) == (Licence("unknown"), ())
    (tmp_path / "README.md").write_bytes(b"---\nlicense: mit\xff\n---\n")
    assert card.read(tmp_path) == (Licence("unknown"), ())


def test_what_a_card_says_has_a_bound(tmp_path: Path) -> None:
    licence, base_models = said(f"---\nlicense: {'m' * 1000}\nbase_model: [{'a/b, ' * 100}]\n---\n", tmp_path)
    assert len(licence.id) == 200
    assert len(base_models) == 10
