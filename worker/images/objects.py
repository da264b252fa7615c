"""Images that need no network: data: URIs, and files below the roots that the operator names."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

from worker.errors import Reason, Rejected

_ENCODED_SEPARATOR = re.compile(r"%(2e|2f|5c|00)", re.IGNORECASE)


def read_data_uri(address: str, max_bytes: int) -> bytes:
    """The bytes of a data: URI (RFC 2397), base64 or percent-encoded.

    Raises Rejected: INVALID_ADDRESS where it cannot be parsed, TOO_LARGE above the limit.
    """
    _, comma, payload = address.partition(",")
    if not comma:
        raise Rejected(Reason.INVALID_ADDRESS, "the data: URI has no comma")
    encoded = _is_base64(address)
    # Before anything is decoded: base64 in which every character is percent-encoded has 4 characters a byte.
    if len(payload) > 4 * max_bytes + 12:
        raise Rejected(Reason.TOO_LARGE, f"the data: URI holds more than {max_bytes} bytes")
    data = _from_base64(payload) if encoded else unquote_to_bytes(payload)
    if len(data) > max_bytes:
        raise Rejected(Reason.TOO_LARGE, f"the data: URI holds more than {max_bytes} bytes")
    return data


def _is_base64(address: str) -> bool:
    return address[: address.find(",")].rstrip().lower().endswith(";base64")


def _from_base64(payload: str) -> bytes:
    try:
        return base64.b64decode(unquote(payload) if "%" in payload else payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Rejected(Reason.INVALID_ADDRESS, f"the data: URI is not base64: {error}") from None


def read_file(address: str, roots: Sequence[Path], max_bytes: int) -> bytes:
    """The bytes of a regular file below one of the roots, links resolved. Blocks: call it in a thread.

    Raises Rejected: INVALID_ADDRESS, FORBIDDEN_ADDRESS, NOT_FOUND (also where it may not be read), TOO_LARGE.
    """
    path = _resolve(_path_of(address), roots)
    try:
        # Opening a FIFO without O_NONBLOCK waits for a writer for good.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise Rejected(Reason.NOT_FOUND, f"the file cannot be opened: {error.strerror}") from None
    try:
        # A directory on the way may have been swapped for a link since it was resolved.
        if os.readlink(f"/proc/self/fd/{descriptor}") != str(path):
            raise Rejected(Reason.FORBIDDEN_ADDRESS, "the file was moved while it was opened")
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Rejected(Reason.NOT_FOUND, "the address is not of a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
    finally:
        os.close(descriptor)
    if len(data) > max_bytes:
        raise Rejected(Reason.TOO_LARGE, f"the file has more than {max_bytes} bytes")
    return data


def _path_of(address: str) -> Path:
    """The path in a file: address (RFC 8089) with no host or localhost."""
    rest = address[len("file:") :]
    if rest.startswith("//"):
        host, slash, rest = rest[2:].partition("/")
        rest = slash + rest
        if host not in ("", "localhost"):
            raise Rejected(Reason.FORBIDDEN_ADDRESS, "the file: address names another host")
    if _ENCODED_SEPARATOR.search(rest) or ".." in rest.split("/") or "\0" in rest:
        raise Rejected(Reason.FORBIDDEN_ADDRESS, "the path goes upwards or hides its separators")
    if not rest.startswith("/"):
        raise Rejected(Reason.INVALID_ADDRESS, "the file: address has no absolute path")
    return Path(unquote(rest))


def _resolve(path: Path, roots: Sequence[Path]) -> Path:
    try:
        resolved = Path(os.path.realpath(path))
    except (OSError, ValueError):
        raise Rejected(Reason.INVALID_ADDRESS, "the path cannot be resolved") from None
    if not any(resolved.is_relative_to(os.path.realpath(root)) for root in roots):
        raise Rejected(Reason.FORBIDDEN_ADDRESS, "the path is below no root of images.file_roots")
    return resolved
