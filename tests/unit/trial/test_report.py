"""The report as a page, for a terminal and against what was expected of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from tests.unit.trial.reports import MODEL, report, result
from worker.errors import ConfigurationError, Fatal
from worker.trial.comparison import Baseline, compare
from worker.trial.expectation import Expectation, expectation
from worker.trial.gallery import EDGE, MOST, Gallery
from worker.trial.page import page
from worker.trial.report import as_json
from worker.trial.terminal import tables

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>\x1b[31m\u202e'
NAMES = ("a", EVIL, "c")
RESULTS = [result(f"{n}.jpg", "a", "a") for n in range(12)]
RESULTS += [result(EVIL, EVIL, "a"), result("2", "a", EVIL), replace(result(f"{EVIL}2", "a", None), detail=EVIL)]
THUMBNAILS = {12: b"jpeg", 13: b"other"}


class _Tags(HTMLParser):
    """What a browser would make of a page: its elements, their attributes, and the text that is shown."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def evil_page() -> str:
    settings = {"images.draft": EVIL}
    model = replace(MODEL, name=EVIL, runtime=EVIL)
    baseline = Baseline("image-worker evaluation 1", EVIL, replace(MODEL, name=EVIL), settings, RESULTS[::-1])
    found = report(RESULTS, NAMES, model=model)
    changed = [*RESULTS[:11], result("11.jpg", "a", EVIL), *RESULTS[12:]]
    comparison = compare(baseline, model, {"images.draft": f"{EVIL}2"}, changed)
    return page(replace(found, manifest=EVIL, comparison=comparison, settings=settings), THUMBNAILS)


def test_the_page_shows_strangers_text_as_text() -> None:
    seen = _Tags(evil_page())
    assert "script" not in seen.tags
    assert seen.tags.count("img") == len(THUMBNAILS)
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert seen.text.count("<script>alert") > 10
    assert "\u202e" not in seen.text
    assert "\x1b" not in seen.text


def test_the_page_asks_for_nothing() -> None:
    text = evil_page()
    sources = [value for name, value in _Tags(text).attributes if name in ("src", "href", "srcset", "xlink:href")]
    assert sources == ["data:image/jpeg;base64,anBlZw==", "data:image/jpeg;base64,b3RoZXI="]
    assert not re.search(r"url\(|@import|https?://", text)
    assert "default-src 'none'" in text


def test_a_page_without_a_fault_in_the_model_says_so() -> None:
    text = page(report([result(f"{n}.jpg", "a", "a") for n in range(3)]), {})
    assert text.count("There are none.") == 2
    assert "rejected" not in text


def test_the_page_says_what_top_1_is_of_a_multi_label_model() -> None:
    found = report(RESULTS[:3])
    assert "multi-label" not in page(found, {})
    assert "multi-label" in page(replace(found, figures=replace(found.figures, distribution=False)), {})


def test_the_page_says_how_images_that_were_rejected_count() -> None:
    text = page(report([*RESULTS[:3], result("no.jpg", "a", None)]), {})
    assert "top-1 with them as wrong: 75.0 %" in text


def test_the_json_has_plain_numbers_and_every_row() -> None:
    found = json.loads(as_json(report(RESULTS, NAMES)))
    assert found["format"] == "image-worker evaluation 1"
    assert found["figures"]["top1"]["value"] == pytest.approx(12 / 14)
    assert found["top1_of_all"]["value"] == pytest.approx(12 / 15)
    assert [row["source"] for row in found["results"]] == [one.source for one in RESULTS]


def test_the_terminal_has_the_figures_and_no_commands_of_strangers() -> None:
    stream = StringIO()
    Console(file=stream, width=100).print(tables(report(RESULTS, NAMES)))
    text = stream.getvalue()
    assert "top-1, rejected as wrong   80.0 %" in text
    assert "not_an_image" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize(("top1", "within", "met"), [(0.80, 0.0, True), (0.78, 0.02, True), (0.83, 0.02, False)])
def test_an_expectation_is_met_within_its_bounds_with_rejected_images_as_wrong(
    top1: float, within: float, met: bool
) -> None:
    found = report(RESULTS, NAMES)  # 12 of 15, one of them rejected
    if met:
        Expectation(top1, within).check(found)
        return
    with pytest.raises(Fatal, match=r"top-1 is 0.8000 of 15 images \(1 rejected images among them\)") as caught:
        Expectation(top1, within).check(found)
    assert caught.value.exit_code == 1


def test_the_two_options_need_each_other() -> None:
    assert expectation(None, None) is None
    assert expectation(0.5, 0.1) == Expectation(0.5, 0.1)
    for pair in ((0.5, None), (None, 0.1)):
        with pytest.raises(ConfigurationError, match="need each other"):
            expectation(*pair)


def test_the_gallery_keeps_the_surest_and_no_more_than_it_may() -> None:
    gallery, random = Gallery(), np.random.default_rng(1)
    pixels = np.zeros((300, 200, 3), np.uint8)
    confidences = random.permutation(MOST + 40) / 100
    for row, confidence in enumerate(confidences.tolist()):
        gallery.offer(confidence, row, pixels)
    kept = gallery.surest_first()
    assert list(kept) == sorted(range(MOST + 40), key=lambda row: -confidences[row])[:MOST]
    assert all(jpeg[:2] == b"\xff\xd8" and len(jpeg) < 5000 for jpeg in kept.values())
    assert EDGE == 160
