"""`image-worker demo`, as a person runs it."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import command, environment, image_worker
from tests.clusters import PATIENCE_S

REASONS = {
    "truncated",
    "not_an_image",
    "http_client_error",
    "forbidden_address",
    "digest_mismatch",
    "host_not_found",
    "unsupported_scheme",
    "unrecognised_value",
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], list[str], Path]]:
    """A demo that goes on running, what it printed so far, and its report."""
    report = tmp_path_factory.mktemp("demo") / "report.html"
    process = subprocess.Popen(
        command("demo", "--keep", "--report", str(report)), stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        yield process, lines, report
    finally:
        process.kill()
        process.wait()


def test_it_ends_by_itself_and_leaves_a_page(tmp_path: Path) -> None:
    process = image_worker("demo", "--report", str(tmp_path / "page.html"))
    assert (process.returncode, process.stderr) == (0, b"")
    assert (tmp_path / "page.html").stat().st_size > 50_000


def test_it_tells_what_was_seen_and_why_not(kept: tuple[subprocess.Popen[str], list[str], Path]) -> None:
    text = "".join(kept[1])
    assert "espresso" in text
    assert {action for action in ("allow", "review", "block") if action in text} == {"allow", "review", "block"}
    assert {reason for reason in REASONS if reason in text} == REASONS
    assert re.search(r"60 images at \d+ images/s", text)


def test_the_page_needs_nothing_else(kept: tuple[subprocess.Popen[str], list[str], Path]) -> None:
    page = kept[2].read_text("utf-8")
    assert not re.findall(r"(?:src|href)=\"(?!data:image/jpeg;base64,)", page)
    assert "<script" not in page
    assert page.count("<img ") == 12
    assert {reason for reason in REASONS if f"<code>{reason}</code>" in page} == REASONS


def test_kept_it_takes_more_and_stops_when_asked(kept: tuple[subprocess.Popen[str], list[str], Path]) -> None:
    process, lines, _ = kept
    (more,) = [shlex.split(line) for line in lines if " produce http" in line]
    assert subprocess.run(more, env=environment(), capture_output=True, timeout=PATIENCE_S).returncode == 0
    assert process.stdout is not None
    assert any("espresso" in line and "coffee.webp" in line for line in iter(process.stdout.readline, ""))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=PATIENCE_S) == 0


def test_without_the_extra_it_says_what_to_install() -> None:
    script = "import sys; sys.modules['skimage'] = None; sys.argv[1:] = ['demo']; from worker.cli import main; main()"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment(), timeout=PATIENCE_S)
    assert process.returncode == 2
    assert b"pip install 'image-worker[demo]'" in process.stderr
    assert b"Traceback" not in process.stderr
