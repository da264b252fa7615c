"""data: URIs and files: what is read, and what never is."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from worker.errors import Reason, Rejected
from worker.images.objects import read_data_uri, read_file

BYTES = bytes(range(256))


def refusal_of_file(address: str, *roots: Path, max_bytes: int = 1000) -> Reason:
    with pytest.raises(Rejected) as caught:
        read_file(address, roots, max_bytes)
    return caught.value.reason


@pytest.mark.parametrize("head", ["data:image/png;base64,", "data:;BASE64,", "DATA:image/svg+xml;x=y;base64,"])
def test_base64_data_is_read(head: str) -> None:
    assert read_data_uri(head + base64.b64encode(BYTES).decode(), 256) == BYTES


def test_percent_encoded_data_is_read() -> None:
    assert read_data_uri("data:image/png," + "".join(f"%{byte:02x}" for byte in BYTES), 256) == BYTES


def test_base64_may_itself_be_percent_encoded() -> None:
    assert read_data_uri("data:;base64,AA%3D%3D", 1) == b"\0"


@pytest.mark.parametrize(
    "uri", ["data:", "data:image/png;base64", "data:;base64,@@@@", "data:;base64,A", "data:;base64,é"]
)
def test_malformed_data_is_an_invalid_address(uri: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_data_uri(uri, 100)
    assert caught.value.reason is Reason.INVALID_ADDRESS


@pytest.mark.parametrize("uri", ["data:," + "x" * 11, "data:;base64," + base64.b64encode(b"x" * 11).decode()])
def test_data_above_the_limit_is_too_large(uri: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_data_uri(uri, 10)
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("form", ["file://{}", "file:{}", "file://localhost{}", "FILE://{}"])
def test_a_file_below_a_root_is_read(tmp_path: Path, form: str) -> None:
    (tmp_path / "a b.jpg").write_bytes(BYTES)
    assert read_file(form.format(f"{tmp_path}/a%20b.jpg"), [tmp_path], 256) == BYTES


def test_a_link_is_judged_by_where_it_leads(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret").write_bytes(BYTES)
    (root / "inner").write_bytes(BYTES)
    (root / "out").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    (root / "in").symlink_to(root / "inner")
    assert refusal_of_file(f"file://{root}/out", root) is Reason.FORBIDDEN_ADDRESS
    assert refusal_of_file(f"file://{root}/folder/secret", root) is Reason.FORBIDDEN_ADDRESS
    assert read_file(f"file://{root}/in", [root], 1000) == BYTES


@pytest.mark.parametrize(
    "path",
    ["/../secret", "/x/../../secret", "/%2e%2e/secret", "/%2E./secret", "/..%2fsecret", "/..%5csecret", "/a%00b"],
)
def test_paths_that_go_upwards_in_any_spelling_are_forbidden(tmp_path: Path, path: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret").write_bytes(BYTES)
    root = tmp_path / "root"
    assert refusal_of_file(f"file://{root}{path}", root) is Reason.FORBIDDEN_ADDRESS


def test_a_root_is_not_a_prefix_of_its_neighbours_name(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "rootless").write_bytes(BYTES)
    assert refusal_of_file(f"file://{tmp_path}/rootless", tmp_path / "root") is Reason.FORBIDDEN_ADDRESS


def test_without_roots_no_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(BYTES)
    assert refusal_of_file(f"file://{tmp_path}/image") is Reason.FORBIDDEN_ADDRESS


def test_what_is_no_regular_file_is_not_found(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("fifo", "missing", "loop", ""):
        assert refusal_of_file(f"file://{tmp_path}/{name}", tmp_path) is Reason.NOT_FOUND


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("file://elsewhere/etc/passwd", Reason.FORBIDDEN_ADDRESS),
        ("file:relative.jpg", Reason.INVALID_ADDRESS),
        ("file:", Reason.INVALID_ADDRESS),
    ],
)
def test_other_hosts_and_relative_paths_are_refused(tmp_path: Path, address: str, reason: Reason) -> None:
    assert refusal_of_file(address, tmp_path) is reason


def test_a_file_above_the_limit_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(BYTES)
    assert refusal_of_file(f"file://{tmp_path}/large", tmp_path, max_bytes=255) is Reason.TOO_LARGE
