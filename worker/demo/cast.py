"""Who appears in the demo: an event for each photograph in each format, and for each thing that goes wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from worker.demo.photographs import Photograph
from worker.kafka.events import Event

_METADATA_SERVICE = "http://169.254.169.254/latest/meta-data/"


@dataclass(frozen=True, slots=True)
class Role:
    """One event, known by its key."""

    key: str
    title: str
    value: bytes
    photograph: Photograph | None = None
    """None for what goes wrong on purpose."""

    @property
    def event(self) -> Event:
        return Event(self.key.encode(), self.value)


@dataclass(frozen=True, slots=True)
class Page:
    """What the demo's web server answers at a path."""

    body: bytes = b""
    content_type: str = "text/html"
    location: str | None = None
    """Where a redirect leads."""


def pages(photographs: Sequence[Photograph]) -> dict[str, Page]:
    """The web server's content by path."""
    found = {
        f"/{photograph.name}.{file_format}": Page(data, f"image/{file_format}")
        for photograph in photographs
        for file_format, data in photograph.encoded.items()
    }
    whole = photographs[0].encoded["jpeg"]
    return found | {
        "/cut-short.jpg": Page(whole[: len(whole) // 2], "image/jpeg"),
        "/not-a-picture.jpg": Page(b"<!doctype html><title>Please log in</title>", "image/jpeg"),
        "/moved.jpg": Page(location=_METADATA_SERVICE),
    }


def roles(photographs: Sequence[Photograph], base: str) -> list[Role]:
    """All events. `base` is the web server's address."""
    good = [
        _role(f"{photograph.name}.{file_format}", photograph.title, base, photograph=photograph)
        for file_format in photographs[0].encoded
        for photograph in photographs
    ]
    return good + list(_wrong(photographs, base))


def _wrong(photographs: Sequence[Photograph], base: str) -> Iterator[Role]:
    yield _role("cut-short.jpg", "a JPEG whose second half is missing", base)
    yield _role("not-a-picture.jpg", "a login page that calls itself a JPEG", base)
    yield _role("nowhere.jpg", "an image that is not there (404)", base)
    yield _role("moved.jpg", "a redirect to a cloud's metadata service", base)
    yield _role(f"{photographs[0].name}.png", "a photograph with another digest than announced", base, sha256="0" * 64)
    yield _role("x.jpg", "a host that does not exist", "http://no-such-host.invalid")
    yield _role("/etc/passwd", "a file of this machine", "file://")
    yield Role("garbage", "a value that is no event", b"\x17 this is not an event")


def _role(path: str, title: str, base: str, photograph: Photograph | None = None, sha256: str | None = None) -> Role:
    key = path if photograph is not None else f"wrong:{path}"
    event = {"url": f"{base}/{path.lstrip('/')}", "id": key} | ({"sha256": sha256} if sha256 else {})
    return Role(key, title, json.dumps(event).encode(), photograph)
