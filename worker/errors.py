"""The tree of errors, and the closed list of reasons for which a record is refused.

WorkerError
├── Rejected              this record cannot be done: it becomes one dead letter with a `Reason`
├── Transient             an outage of our own: the record waits, says so, and is tried again
└── Fatal                 the process stops with this one line, committing nothing that is not done
    └── ConfigurationError  the same, of what was asked for: to start it again does not help (exit code 2)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum


class Stage(StrEnum):
    """Where on its way a record was, in the order of the way."""

    EVENT = "event"
    FETCH = "fetch"
    DECODE = "decode"
    CLASSIFY = "classify"
    PUBLISH = "publish"
    WORKER = "worker"


class Reason(StrEnum):
    """Why a record became a dead letter. The list is closed: `docs/reasons.md` is checked against it."""

    stage: Stage
    meaning: str

    def __new__(cls, code: str, stage: Stage, meaning: str) -> Reason:
        reason = str.__new__(cls, code)
        reason._value_ = code
        reason.stage = stage
        reason.meaning = meaning
        return reason

    EMPTY_VALUE = "empty_value", Stage.EVENT, "The record's value has no bytes."
    UNRECOGNISED_VALUE = "unrecognised_value", Stage.EVENT, "The value's first bytes are of no known encoding."
    MALFORMED_VALUE = "malformed_value", Stage.EVENT, "The value is broken JSON or Avro, or bytes follow its end."
    UNKNOWN_SCHEMA = "unknown_schema", Stage.EVENT, "No schema is known by the id or fingerprint in the value."
    WRONG_TYPE = "wrong_type", Stage.EVENT, "A field of the event is of another type than expected."
    MISSING_ADDRESS = "missing_address", Stage.EVENT, "The event names no image."

    INVALID_ADDRESS = "invalid_address", Stage.FETCH, "The address is no address: it cannot be parsed."
    UNSUPPORTED_SCHEME = "unsupported_scheme", Stage.FETCH, "The address has a scheme that is not allowed."
    FORBIDDEN_ADDRESS = "forbidden_address", Stage.FETCH, "The policy forbids to reach the address or a redirect of it."
    HOST_NOT_FOUND = "host_not_found", Stage.FETCH, "The name of the host could not be resolved."
    CONNECTION_FAILED = "connection_failed", Stage.FETCH, "The connection was refused or broke, each time it was tried."
    TLS_FAILED = "tls_failed", Stage.FETCH, "The host's certificate was not accepted, or the handshake failed."
    HOST_UNAVAILABLE = "host_unavailable", Stage.FETCH, "The host fails or stalls, and the record's wait for it ended."
    FETCH_TIMEOUT = "fetch_timeout", Stage.FETCH, "The image did not arrive within the deadline."
    TOO_MANY_REDIRECTS = "too_many_redirects", Stage.FETCH, "The address led through more redirects than allowed."
    HTTP_CLIENT_ERROR = "http_client_error", Stage.FETCH, "The host answered with a status of 400 to 499."
    HTTP_SERVER_ERROR = "http_server_error", Stage.FETCH, "The host answered with a status of 500 or more to the end."
    INVALID_RESPONSE = "invalid_response", Stage.FETCH, "The host's answer is not the HTTP that was asked for."
    NOT_FOUND = "not_found", Stage.FETCH, "There is no file at the address."
    ACCESS_DENIED = "access_denied", Stage.FETCH, "The object store refused the worker's credentials for this object."
    TOO_LARGE = "too_large", Stage.FETCH, "The image has more bytes than allowed."
    DIGEST_MISMATCH = "digest_mismatch", Stage.FETCH, "The image's sha256 is not the one that the event states."

    NOT_AN_IMAGE = "not_an_image", Stage.DECODE, "The bytes are of no image format."
    UNSUPPORTED_FORMAT = "unsupported_format", Stage.DECODE, "The bytes are of an image format that is not allowed."
    BROKEN_IMAGE = "broken_image", Stage.DECODE, "The image is damaged."
    TRUNCATED = "truncated", Stage.DECODE, "The image ends early."
    SIZE_MISMATCH = "size_mismatch", Stage.DECODE, "The image's head declares another size than its pixels have."
    TOO_MANY_PIXELS = "too_many_pixels", Stage.DECODE, "The image has more pixels than allowed."
    EDGE_TOO_LONG = "edge_too_long", Stage.DECODE, "The image is wider or higher than allowed."
    ASPECT_TOO_EXTREME = "aspect_too_extreme", Stage.DECODE, "The image is longer, for its breadth, than allowed."
    TOO_MANY_FRAMES = "too_many_frames", Stage.DECODE, "The animation has more frames than allowed."
    TOO_MANY_SCANS = "too_many_scans", Stage.DECODE, "The JPEG's scans, times its pixels, are more work than allowed."
    DECODE_OUT_OF_MEMORY = "decode_out_of_memory", Stage.DECODE, "Decoding needs more memory than allowed."
    DECODE_TIMEOUT = "decode_timeout", Stage.DECODE, "Decoding took longer than allowed and was killed."
    DECODER_CRASHED = "decoder_crashed", Stage.DECODE, "The decoder died of this image."

    MODEL_FAILED = "model_failed", Stage.CLASSIFY, "The model failed on this image, alone in a batch."
    MODEL_OUTPUT_INVALID = "model_output_invalid", Stage.CLASSIFY, "The model's scores are not finite numbers."

    OUTCOME_TOO_LARGE = "outcome_too_large", Stage.PUBLISH, "The broker refused the outcome for its size."
    OUTCOME_REFUSED = "outcome_refused", Stage.PUBLISH, "The broker refused the outcome: it lacks a key, or is too old."

    INTERNAL_ERROR = "internal_error", Stage.WORKER, "A fault of the worker's own; its log has the traceback."


class WorkerError(Exception):
    """The root of what this package raises on purpose. Its text is one line for the operator."""


class Rejected(WorkerError):
    """This record cannot be done. Becomes one dead letter; the worker goes on.

    `detail` is one line for the operator. It never tells what was found behind a forbidden address.
    `sha256` (64 hex digits) is of the image's bytes where they were read before the rejection.
    """

    def __init__(self, reason: Reason, detail: str, *, sha256: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.sha256 = sha256


class Transient(WorkerError):
    """An outage of our own (registry, broker, network at large): no record is to blame nor dead-lettered for it."""

    def __init__(self, detail: str, *, over: Callable[[], Awaitable[object]] | None = None) -> None:
        super().__init__(detail)
        self.over = over
        """Of an outage of everything (the network at large), which is watched: awaits its end."""


class Fatal(WorkerError):
    """The process cannot go on. The text says what happened and what the operator can do. Exit code 1."""

    exit_code = 1


class ConfigurationError(Fatal):
    """A setting or an argument is wrong. The text names it, where it came from and what to write. Exit code 2."""

    exit_code = 2
