"""What an answer over HTTP, or its absence, means for the record."""

from __future__ import annotations

import errno
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.http_exceptions import ContentLengthError, HttpProcessingError
from pycares.errno import ARES_EBADNAME

from worker.errors import Reason, Rejected, Transient

_MAY_PASS = frozenset({408, 425, 429})
_NO_ANSWER = frozenset({Reason.HOST_NOT_FOUND, Reason.CONNECTION_FAILED, Reason.FETCH_TIMEOUT, Reason.HOST_UNAVAILABLE})
_NO_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class MayPass(Exception):
    """A try that failed in a way that may pass. Becomes Rejected(reason, detail) where it does not."""

    def __init__(self, reason: Reason, detail: str, *, wait_s: float | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.wait_s = wait_s
        """What the host asked to wait (Retry-After), in seconds."""

    @property
    def of_the_network(self) -> bool:
        """Whether no answer came, which may be this worker's own network's fault."""
        return self.reason in _NO_ANSWER


def forbidden(rule: str) -> Rejected:
    return Rejected(Reason.FORBIDDEN_ADDRESS, f"refused by rule {rule}")


def too_large(limit: int) -> Rejected:
    return Rejected(Reason.TOO_LARGE, f"the image has more than {limit} bytes")


def check_status(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status == 200:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Rejected(Reason.INVALID_RESPONSE, "the body is compressed, which was not asked for")
        return
    if status >= 500:
        raise MayPass(Reason.HTTP_SERVER_ERROR, f"status {status}", wait_s=_retry_after(response))
    if status in _MAY_PASS:
        raise MayPass(Reason.HTTP_CLIENT_ERROR, f"status {status}", wait_s=_retry_after(response))
    if status >= 400:
        raise Rejected(Reason.HTTP_CLIENT_ERROR, f"status {status}")
    raise Rejected(Reason.INVALID_RESPONSE, f"status {status} is no answer to a plain GET")


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Seconds to wait, from either form of Retry-After (RFC 9110 10.2.3), the date against the host's own clock."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal() and len(value) < 10:
        return float(value)
    try:
        then = parsedate_to_datetime(value)
        now = parsedate_to_datetime(response.headers.get("Date", ""))
        return max(0.0, (then - now).total_seconds())
    except (ValueError, TypeError):
        return None


def verdict(error: Exception, host: str) -> Rejected | MayPass | Transient:
    """What an error of aiohttp means for the record."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return Rejected(Reason.TLS_FAILED, "the certificate was not accepted, or the handshake failed")
        case aiohttp.ClientConnectorDNSError():
            return _unresolved(error, host)
        case aiohttp.ConnectionTimeoutError():
            return MayPass(Reason.FETCH_TIMEOUT, f"no connection to {host} in time")
        case aiohttp.ClientConnectorError() if error.os_error.errno in _NO_RESOURCES:
            return Transient(f"this machine has no room for a connection: {error.os_error.strerror}")
        case aiohttp.ClientConnectorError():
            return MayPass(Reason.CONNECTION_FAILED, f"{host}: {error.strerror or error.os_error}")
        case aiohttp.InvalidURL():
            return Rejected(Reason.INVALID_ADDRESS, "the address is not one that HTTP can ask for")
        case aiohttp.ClientPayloadError() if isinstance(error.__cause__, HttpProcessingError):
            return _payload(error.__cause__)
        case aiohttp.ClientResponseError():
            return Rejected(Reason.INVALID_RESPONSE, "the answer is not HTTP, or its head is too large")
        case TimeoutError():
            return MayPass(Reason.FETCH_TIMEOUT, f"{host} stopped sending")
        case aiohttp.ClientError() | OSError():
            return MayPass(Reason.CONNECTION_FAILED, f"{host}: the connection broke ({type(error).__name__})")
    return Rejected(Reason.INVALID_ADDRESS, "the address is not one that HTTP can ask for")


def _unresolved(error: aiohttp.ClientConnectorDNSError, host: str) -> Rejected | MayPass:
    """A name that cannot be one is the address's fault, all else may pass: name servers say much while they fail."""
    cause = error.os_error.__cause__
    if cause is not None and cause.args[0] == ARES_EBADNAME:
        return Rejected(Reason.INVALID_ADDRESS, "the host's name cannot be one")
    return MayPass(Reason.HOST_NOT_FOUND, f"the name {host} could not be looked up")


def _payload(cause: Exception) -> Rejected | MayPass:
    if isinstance(cause, ContentLengthError):
        return MayPass(Reason.CONNECTION_FAILED, "the body ended early")
    return Rejected(Reason.INVALID_RESPONSE, "the body is not encoded as its head says")
