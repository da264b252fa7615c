"""`image-worker produce`, into the embedded cluster."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli import error_line, image_worker
from tests.clusters import PATIENCE_S, Cluster, Topics
from worker.kafka.points import Point
from worker.kafka.reader import Reader


@pytest.fixture
def topics(embedded: Cluster) -> Topics:
    return embedded.topics()


def produce(
    cluster: Cluster, topics: Topics, *arguments: str, stdin: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    flags = [word for flag in cluster.flags(topics) for word in ("--set", flag)]
    return image_worker(*flags, "produce", *arguments, stdin=stdin)


def inputs(cluster: Cluster, topics: Topics, count: int) -> list[tuple[bytes | None, bytes | None]]:
    """Key and value of so many records of the input topic."""
    found = []
    deadline_s = time.monotonic() + PATIENCE_S
    with closing(Reader(cluster.settings(topics).kafka, [topics.input], Point())) as reader:
        while len(found) < count and time.monotonic() < deadline_s:
            if (record := reader.read(0.1)) is not None:
                found.append((record.key, record.value))
    return found


def test_addresses_and_files_are_sent_and_counted(embedded: Cluster, topics: Topics, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(b"x")
    process = produce(embedded, topics, "http://a/b.jpg", str(tmp_path / "picture"))
    assert (process.returncode, process.stdout.decode()) == (0, f"2 sent to {topics.input}\n")
    addresses = {json.loads(value or b"")["url"] for _, value in inputs(embedded, topics, 2)}
    assert addresses == {"http://a/b.jpg", (tmp_path / "picture").as_uri()}


def test_a_directory_is_sent_inline_with_its_addresses_as_keys(
    embedded: Cluster, topics: Topics, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"\xff\xd8\xff1")
    (tmp_path / "b").write_bytes(b"\xff\xd8\xff2")
    assert produce(embedded, topics, "--dir", str(tmp_path), "--inline").returncode == 0
    assert dict(inputs(embedded, topics, 2)) == {
        (tmp_path / name).as_uri().encode(): (tmp_path / name).read_bytes() for name in "ab"
    }


def test_lines_of_a_file_and_of_stdin_are_events(embedded: Cluster, topics: Topics, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"url": "http://a", "id": 1}\n\nhttp://b\n')
    process = produce(embedded, topics, "-", "--file", str(file), "--key", "id", stdin=b"http://c\n")
    assert process.stdout.decode() == f"3 sent to {topics.input}\n"
    assert set(inputs(embedded, topics, 3)) == {
        (b"1", b'{"url": "http://a", "id": 1}'),
        (None, b'{"url":"http://b"}'),
        (None, b'{"url":"http://c"}'),
    }


def test_what_cannot_be_sent_is_named_and_the_rest_is_sent(embedded: Cluster, topics: Topics) -> None:
    process = produce(embedded, topics, "/missing", "http://a", "-", stdin=b"{broken\n")
    assert process.returncode == 1
    assert process.stdout.decode() == f"1 sent to {topics.input}\n"
    lines = process.stderr.decode().splitlines()
    assert lines[0] == "image-worker: 2 of 3 events were not sent"
    assert lines[1] == "image-worker: /missing: neither an address nor a file"
    assert lines[2].startswith("image-worker: stdin:1: ")


def test_a_missing_topic_is_one_line(embedded: Cluster, topics: Topics) -> None:
    process = produce(embedded, topics, "http://a", "--topic", "nowhere-at-all")
    assert process.returncode == 1
    assert "topic nowhere-at-all: does not exist" in error_line(process)


def test_a_record_that_is_too_large_fails_and_is_counted(embedded: Cluster, topics: Topics, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(9 * 2**20))
    process = produce(embedded, topics, "--inline", str(tmp_path / "large"))
    assert process.returncode == 1
    assert "1 of 1 events were not sent" in process.stderr.decode()
