"""`image-worker classify` with the real model, and the order of its verdicts with one that costs nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.cli import ROOT, image_worker
from tests.clusters import data_uri, jpeg
from worker.local import LocalImages, Verdict
from worker.observe.metrics import Metrics
from worker.opening import open_chain
from worker.settings import resolve
from worker.testing import FreeClassifier

CAT = ROOT / "worker" / "check.jpg"
FIELDS = {
    "source",
    "status",
    "label",
    "score",
    "action",
    "scores",
    "reason",
    "detail",
    "sha256",
    "width",
    "height",
    "format",
    "frames",
    "frame",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    (folder / "cat").write_bytes(CAT.read_bytes())
    (folder / "cut.jpg").write_bytes(CAT.read_bytes()[:8000])
    (folder / "text.png").write_text("hello")
    return folder


def test_json_has_one_object_for_each_image_in_order(folder: Path) -> None:
    sources = ["-", str(folder), str(folder / "missing"), "http://127.0.0.1/x.jpg", "s3://bucket/key"]
    process = image_worker("classify", "--json", *sources, stdin=CAT.read_bytes())
    assert (process.returncode, process.stderr) == (0, b"")
    rows: list[dict[str, Any]] = [json.loads(line) for line in process.stdout.splitlines()]
    assert all(set(row) == FIELDS for row in rows)
    names = [str(folder / name) for name in ("cat", "cut.jpg", "text.png", "missing")]
    assert [row["source"] for row in rows] == ["-", *names, *sources[3:]]
    assert [row["reason"] for row in rows[2:]] == [
        "truncated",
        "not_an_image",
        "not_found",
        "forbidden_address",
        "unsupported_scheme",
    ]
    digest = hashlib.sha256(CAT.read_bytes()).hexdigest()
    for row in rows[:2]:
        assert (row["status"], row["sha256"], row["format"], row["width"]) == ("classified", digest, "jpeg", 320)
        assert row["label"].endswith("cat")
        assert row["scores"][0] == {"label": row["label"], "score": row["score"]}
        assert len(row["scores"]) == 5
    assert rows[2]["sha256"] == hashlib.sha256((folder / "cut.jpg").read_bytes()).hexdigest()
    assert (rows[2]["status"], rows[2]["label"], rows[2]["scores"]) == ("rejected", None, None)


def test_lines_have_label_score_and_action_or_the_reason(folder: Path) -> None:
    process = image_worker("classify", str(folder))
    cat, cut, text = process.stdout.decode().splitlines()
    assert process.returncode == 0
    assert "cat  0." in cat
    assert cat.endswith("  allow")
    assert "rejected  truncated: " in cut
    assert "rejected  not_an_image: " in text


@pytest.fixture
async def images() -> AsyncIterator[LocalImages]:
    flags = ["images.decode_processes=1", "images.max_bytes=5000", "images.max_bytes_in_flight=10000"]
    settings = resolve(None, [*flags, "images.allow_networks=['127.0.0.0/8']", "images.retries=0"], {}).settings
    async with open_chain(settings, Metrics(), FreeClassifier()) as room:
        yield LocalImages(room, settings.images, at_once=16)


async def verdicts(images: LocalImages, sources: list[str]) -> list[Verdict]:
    return [verdict async for verdict in images.verdicts(sources)]


async def test_verdicts_keep_the_order_of_the_sources(images: LocalImages, tmp_path: Path) -> None:
    sources = []
    for number in range(60):
        path = tmp_path / str(number)
        path.write_bytes(jpeg(number * 4))
        sources.append(str(path) if number % 2 else data_uri(jpeg(number * 4)))
    found = await verdicts(images, sources)
    assert [verdict.source for verdict in found] == sources
    expected = ["abcd"[number * 4 // 64] for number in range(60)]
    assert [verdict.classified and verdict.classified.decision.label for verdict in found] == expected


async def test_files_are_bounded_in_size(images: LocalImages, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(5001))
    (found,) = await verdicts(images, [str(tmp_path / "large")])
    assert found.rejected is not None
    assert found.rejected.reason == "too_large"


async def test_what_cannot_be_read_as_a_file_is_not_found(images: LocalImages, tmp_path: Path) -> None:
    found = await verdicts(images, [str(tmp_path), "/missing", "nul\0"])
    assert [verdict.rejected and verdict.rejected.reason for verdict in found] == ["not_found"] * 3


async def test_addresses_go_by_the_policy_of_the_worker(images: LocalImages) -> None:
    """The network may be reached, but not on this server's port."""
    runner = web.AppRunner(web.Application())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        found = await verdicts(images, [f"http://127.0.0.1:{port}/x", "http://10.0.0.1/x", "file:///etc/passwd"])
    finally:
        await runner.cleanup()
    reasons = [verdict.rejected and str(verdict.rejected.reason) for verdict in found]
    assert reasons == ["forbidden_address", "forbidden_address", "unsupported_scheme"]


async def test_an_outage_is_the_answer_for_each_image(images: LocalImages) -> None:
    """Nothing listens on port 80 of these; for a worker that would be an outage, which waits."""
    found = await verdicts(images, [f"http://127.0.0.{number}/x" for number in range(2, 8)])
    assert {verdict.rejected and str(verdict.rejected.reason) for verdict in found} == {"connection_failed"}
