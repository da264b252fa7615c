"""A hub on loopback that answers what huggingface_hub asks, with real files, well or badly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Literal

REVISION = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/tiny-vit"

Manner = Literal["answers", "hangs", "hangs over files", "drips", "fails"]


@dataclass
class Model:
    """A model of the hub: its revisions, where its branch `main` is, and how the hub behaves when asked for it."""

    revisions: dict[str, Path]
    main: str = REVISION
    manner: Manner = "answers"
    asked: list[str] = field(default_factory=list)
    """Method and path of each request."""


@contextmanager
def serve(models: dict[str, Model]) -> Iterator[str]:
    """Serves models by name; what is changed in them while it runs holds from then on. Yields the endpoint."""
    closed = Event()

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            words = self.path.partition("?")[0].strip("/").split("/")
            about = words[:2] == ["api", "models"]
            owner, name, *rest = words[2:] if about else words
            model = models.get(f"{owner}/{name}")
            revision = rest[1] if len(rest) > 1 else "main"
            directory = model and model.revisions.get(model.main if revision == "main" else revision)
            if model is not None:
                model.asked.append(f"{self.command} {self.path}")
            if model is None or directory is None:
                self.send_error(404)
            elif model.manner == "hangs" or (model.manner == "hangs over files" and not about):
                closed.wait()
            elif model.manner == "fails":
                self.send_error(500)
            elif about:
                self.tell(f"{owner}/{name}", revision if revision != "main" else model.main, directory, rest[:1])
            else:
                self.file(directory / rest[2], revision, drip=model.manner == "drips")

        do_HEAD = do_GET

        def tell(self, name: str, revision: str, directory: Path, what: list[str]) -> None:
            paths = sorted(directory.iterdir())
            tree = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0" * 40} for p in paths]
            siblings = [{"rfilename": path.name} for path in paths]
            card = {"id": name, "modelId": name, "sha": revision, "siblings": siblings}
            self.answer(json.dumps(tree if what == ["tree"] else card).encode(), "application/json", revision)

        def file(self, path: Path, revision: str, drip: bool) -> None:
            if path.is_file():
                self.answer(path.read_bytes(), "application/octet-stream", revision, drip)
            else:
                self.send_error(404)

        def answer(self, body: bytes, kind: str, revision: str, drip: bool = False) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", revision)
            self.end_headers()
            if self.command == "HEAD":
                return
            for start in range(0, len(body), 1 if drip else len(body)):
                if drip and closed.wait(0.1):
                    return
                self.wfile.write(body[start : start + 1] if drip else body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        closed.set()
        server.shutdown()
        thread.join()
        server.server_close()
