"""What the demo's outcomes add up to, and that its page escapes whatever they hold."""

from __future__ import annotations

from typing import Any

from worker.demo.cast import Role
from worker.demo.figures import add_up
from worker.demo.page import page
from worker.demo.photographs import Photograph
from worker.kafka.outcomes import DeadLetter
from worker.records import Coordinates, ImageReference, SourceRecord
from worker.watch import Seen

EVIL = '<script>alert("x")</script>'
PHOTOGRAPH = Photograph("cat", f"a cat {EVIL}", {"jpeg": b"", "png": b""}, b"thumbnail")


def record(key: str) -> SourceRecord:
    return SourceRecord(Coordinates("t", 0, 0), 0, key.encode(), b"", ())


def classification(file_format: str, label: str, fetch_ms: float, classified_at_ms: int) -> dict[str, Any]:
    timing = {"fetch_ms": fetch_ms, "decode_ms": 1.0, "wait_ms": 1.0, "compute_ms": 1.0, "batch_size": 2}
    return {
        "source": {"timestamp_ms": 1000},
        "classified_at_ms": classified_at_ms,
        "image": {"format": file_format},
        "decision": {"label": label, "score": 0.5, "action": "allow"},
        "scores": [{"label": label, "score": 0.5}],
        "model": {"name": EVIL, "runtime": "r", "precision": "fp32", "fingerprint": "f" * 64},
        "timing": timing,
    }


ROLES = [Role("cat.jpeg", "", b"", PHOTOGRAPH), Role("cat.png", "", b"", PHOTOGRAPH), Role("bad", f"bad {EVIL}", b"")]
SEEN = [
    Seen(record("bad"), dead_letter=DeadLetter("not_found", "fetch", EVIL, "t", 0, 0, ImageReference())),
    Seen(record("cat.png"), classification=classification("png", EVIL, 30.0, 3000)),
    Seen(record("cat.jpeg"), classification=classification("jpeg", "cat", 10.0, 2000)),
]


def test_outcomes_add_up_by_photograph_in_the_order_of_the_roles() -> None:
    showing = add_up(ROLES, SEEN)
    (sight,) = showing.sights
    assert list(sight.by_format) == ["jpeg", "png"]
    assert sight.best["decision"]["label"] == "cat"
    assert sight.agreeing == 1
    assert [refusal.letter.reason for refusal in showing.refusals] == ["not_found"]


def test_figures_are_those_of_the_run() -> None:
    figures = add_up(ROLES, SEEN).figures
    assert (figures.images, figures.images_per_s) == (2, 1.0)
    assert figures.batches == {2: 1}
    fetch, total = figures.times[0], figures.times[-1]
    assert (fetch.stage, fetch.p50_ms, fetch.p99_ms) == ("fetch", 10.0, 30.0)
    assert (total.p50_ms, total.p99_ms) == (1000, 2000)


def test_the_page_escapes_everything() -> None:
    text = page(add_up(ROLES, SEEN))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 5
