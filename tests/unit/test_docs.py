"""The pages under docs/ and the README, held against the code: tables, header names, settings, command lines, links."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase

from tests.bombs import BOMBS
from tests.commands import parse
from worker.errors import Reason, Rejected
from worker.images.settings import ImagesSettings
from worker.kafka.deadletter import DeadLetters
from worker.kafka.schemas import CLASSIFICATION, IMAGE_REFERENCE, latest
from worker.observe.metrics import Metrics
from worker.records import Coordinates, Head, ModelIdentity, SourceRecord
from worker.settings import resolve

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
Row = tuple[str, ...]


def table(page: str, heading: str) -> list[Row]:
    """The rows of the table under a heading."""
    _, found, below = ("\n" + (DOCS / page).read_text()).partition(f"\n{heading}\n")
    assert found, f"{page} has no heading {heading!r}"
    section = re.split(r"\n##? ", below)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def metrics() -> list[MetricWrapperBase]:
    return [metric for metric in vars(Metrics()).values() if isinstance(metric, MetricWrapperBase)]


def exposed(metric: MetricWrapperBase) -> str:
    (family,) = metric.describe()
    return family.name + ("_total" if family.type == "counter" else "")


def metric_rows() -> list[Row]:
    rows = []
    for metric in metrics():
        (family,) = metric.describe()
        labels = ", ".join(f"`{name}`" for name in metric._labelnames)
        rows.append((f"`{exposed(metric)}`", family.type, labels, family.documentation))
    return rows


def reason_rows() -> list[Row]:
    return [(f"`{reason}`", str(reason.stage), reason.meaning) for reason in Reason]


def field_rows(name: str) -> list[Row]:
    return [(f"`{path}`", kind, text) for path, kind, text in _fields(latest(name).parsed)]


def _fields(record: Any, above: str = "") -> Iterator[Row]:
    for field in record["fields"]:
        kind, path = field["type"], above + field["name"]
        items = kind["items"] if isinstance(kind, dict) and kind["type"] == "array" else None
        below = items or (kind[-1] if isinstance(kind, list) else kind)
        yield path, _kind(kind), field["doc"]
        if isinstance(below, dict) and below["type"] == "record":
            yield from _fields(below, f"{path}[]." if items else f"{path}.")


def _kind(kind: Any) -> str:
    if isinstance(kind, list):
        return " or ".join(map(_kind, kind))
    return kind if isinstance(kind, str) else str(kind["type"])


def test_the_metrics_page_has_every_metric_as_it_is_declared() -> None:
    assert table("metrics.md", "# Metrics") == metric_rows()


def test_the_reasons_page_has_every_reason_and_what_can_be_done() -> None:
    rows = table("reasons.md", "# Reasons")
    assert [row[:3] for row in rows] == reason_rows()
    assert all(row[3] for row in rows)


@pytest.mark.parametrize(
    ("heading", "schema"),
    [("## Fields of an event", IMAGE_REFERENCE), ("## Fields of a classification", CLASSIFICATION)],
)
def test_the_events_page_has_every_field_of_the_schemas(heading: str, schema: str) -> None:
    assert table("events.md", heading) == field_rows(schema)


def test_the_events_page_has_every_header_of_a_dead_letter() -> None:
    record = SourceRecord(Coordinates("images", 0, 0), 0, b"key", b"value", ())
    letters = DeadLetters("dead", lambda: Head(ModelIdentity("m", "", "f" * 64, "numpy", "fp32"), ("cat",)))
    made = (letters.make(record, Rejected(Reason.BROKEN_IMAGE, "cut")), letters.without_value(record))
    names = {name for letter in made for name, _ in letter.record.headers}
    assert {row[0].strip("`") for row in table("events.md", "## Dead letters")} == names


def test_the_limits_page_has_every_bomb_with_the_setting_the_default_and_the_reason_that_are_so() -> None:
    rows = table("limits.md", "## Before anything is decoded")
    assert [row[:4] for row in rows] == [bomb.row() for bomb in BOMBS]
    assert all(row[4:] for row in rows)


def test_the_limits_page_has_defaults_and_reasons_that_are_so() -> None:
    for _, setting, default, reason in table("limits.md", "## While it is decoded"):
        value = getattr(ImagesSettings(), setting.strip("`").removeprefix("images."))
        assert (f"{value:,}", reason.strip("`") in set(Reason)) == (default, True)


def test_alerts_ask_for_metrics_that_are_there() -> None:
    names = {exposed(metric) for metric in metrics()}
    histograms = {f"{name}_{part}" for name in names for part in ("bucket", "sum", "count")}
    asked = {name for page in PAGES for name in re.findall(r"\bimage_worker_\w+", page.read_text())}
    assert asked <= names | histograms


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_of_settings_resolves(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(page, "toml")):
        file = tmp_path / f"{number}.toml"
        file.write_text(block)
        assert tomllib.loads(block)
        resolve(file, environment={})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_is_one_that_the_parser_takes(page: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words and Path(words[0]).name == "image-worker":
                assert parse(words[1 : words.index("|") if "|" in words else None]).command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def logged() -> set[str]:
    """The events that the worker logs."""
    sources = (ROOT / "worker").rglob("*.py")
    return {event for file in sources for event in re.findall(r"log\.\w+\(\s*\"([\w.]+)\"", file.read_text())}


def test_every_setting_and_event_of_the_log_that_is_named_exists() -> None:
    known = set(re.findall(r"^\| `([\w.]+)` \|", (DOCS / "settings.md").read_text(), re.MULTILINE))
    sections = {key.partition(".")[0] for key in known}
    known |= {key.rpartition(".")[0] for key in known}
    fields = {row[0].strip("`") for row in field_rows(CLASSIFICATION)}
    for page in PAGES:
        for key in re.findall(r"`((?:\w+\.)+\w+)`", page.read_text()):
            if key.partition(".")[0] in sections and not key.endswith((".py", ".md")):
                assert key in known | fields | logged(), f"{page.name}: {key}"


def test_every_test_that_is_named_is_there() -> None:
    for page in PAGES:
        for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text()):
            assert f"def {name}(" in (ROOT / file).read_text(), f"{page.name}: {file}::{name}"
