"""A folder's files over HTTP from nginx, where it is installed (Debian: nginx-light), else from the aiohttp server."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.stage import web_server
from tests.kafka_server import free_ports

_STARTS_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Server:
    """A web server that runs."""

    port: int
    what: str
    """nginx or aiohttp."""
    folder: Path

    def addresses(self, pattern: str = "*.JPEG") -> tuple[str, ...]:
        """One for each file."""
        return tuple(f"http://127.0.0.1:{self.port}/{path.name}" for path in sorted(self.folder.glob(pattern)))


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    """Serve a folder on loopback, with connections that are kept."""
    if (program := shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")) is None:
        with web_server(folder) as port:
            yield Server(port, "aiohttp (nginx is not installed)", folder)
        return
    with tempfile.TemporaryDirectory(prefix="image-worker-nginx-") as place:
        port = free_ports(1)[0]
        configuration = Path(place, "nginx.conf")
        configuration.write_text(_configuration(Path(place), folder.resolve(), port))
        command = [program, "-c", str(configuration), "-p", place, "-e", str(Path(place, "error.log"))]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            _wait_for(port)
            yield Server(port, "nginx", folder)
        finally:
            process.terminate()
            process.wait()


def _wait_for(port: int) -> None:
    deadline_s = time.monotonic() + _STARTS_WITHIN_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.02)


def _configuration(place: Path, folder: Path, port: int) -> str:
    """One process, nothing logged, connections kept for good. As root its workers stay root, to read the folder."""
    temporary = "\n".join(
        f"    {name}_temp_path {place}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
{"user root;" if Path(place).owner() == "root" else ""}
daemon off;
worker_processes 1;
pid {place}/nginx.pid;
error_log {place}/error.log;
events {{ worker_connections 4096; }}
http {{
{temporary}
    access_log off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=1000;
    keepalive_requests 100000000;
    default_type image/jpeg;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {folder};
    }}
}}
"""
