"""A hub on loopback that answers what huggingface_hub asks, with the real files of a directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

REVISION = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/tiny-vit"


@contextmanager
def serve(directory: Path) -> Iterator[str]:
    """Serves the directory as the model NAME, whose branch `main` is at REVISION. Yields the endpoint's address."""

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            model = f"/api/models/{NAME}"
            path = self.path.partition("?")[0]
            if path in (model, f"{model}/revision/main", f"{model}/revision/{REVISION}"):
                self.answer(self.card(), "application/json")
            elif path.startswith((f"/{NAME}/resolve/{REVISION}/", f"/{NAME}/resolve/main/")):
                self.file(directory / path.rsplit("/", 1)[1])
            elif path.startswith(f"{model}/tree/"):
                self.answer(json.dumps(self.tree()).encode(), "application/json")
            else:
                self.send_error(404)

        do_HEAD = do_GET

        def card(self) -> bytes:
            siblings = [{"rfilename": path.name} for path in sorted(directory.iterdir())]
            return json.dumps({"id": NAME, "modelId": NAME, "sha": REVISION, "siblings": siblings}).encode()

        def tree(self) -> list[dict[str, object]]:
            return [
                {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": "0" * 40}
                for path in sorted(directory.iterdir())
            ]

        def file(self, path: Path) -> None:
            if path.is_file():
                self.answer(path.read_bytes(), "application/octet-stream")
            else:
                self.send_error(404)

        def answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", REVISION)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
