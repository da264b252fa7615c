"""Results for bytes that were seen before: of the same model, decoder and policy, since they all end with this process.

Off by default: it pays where the same images come again and again, and costs a digest of each image on the event loop.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from worker.errors import Reason, Rejected, Stage
from worker.observe.metrics import Metrics
from worker.records import EncodedImage

T = TypeVar("T")

_MAY_PASS = frozenset({Reason.DECODE_TIMEOUT, Reason.DECODER_CRASHED, Reason.DECODE_OUT_OF_MEMORY})
"""What a busy machine, or a neighbour, can do to an image that is well."""


class Seen(Generic[T]):
    """The last results by the sha256 of their bytes, refusals among them. Owned by the event loop."""

    def __init__(self, entries: int, metrics: Metrics) -> None:
        self._entries = entries
        self._metrics = metrics
        self._results: OrderedDict[str, T | Rejected] = OrderedDict()

    def before(self, encoded: EncodedImage, holds: Callable[[T], bool] = lambda _: True) -> T | None:
        """What came of the same bytes before; None where they are new, or where it no longer `holds`.

        Raises Rejected where they were refused.
        """
        if not self._entries:
            return None
        sha256 = hashlib.sha256(encoded.data).hexdigest()
        expected = encoded.expected_sha256
        result = self._results.get(sha256) if expected is None or expected.lower() == sha256 else None
        if result is not None and not isinstance(result, Rejected) and not holds(result):
            result = None
        self._metrics.seen.labels("new" if result is None else "seen").inc()
        if result is None:
            return None
        self._results.move_to_end(sha256)
        if isinstance(result, Rejected):
            raise Rejected(result.reason, result.detail, sha256=result.sha256)
        return result

    def remember(self, sha256: str, result: Callable[[], T]) -> None:
        """Keep a result, and let go of the one that was not asked for for longest."""
        if self._entries:
            self._keep(sha256, result())

    def remember_refusal(self, rejected: Rejected) -> None:
        """Keep a refusal, if it is one that the same bytes would meet again."""
        final = rejected.reason.stage is Stage.DECODE and rejected.reason not in _MAY_PASS
        if self._entries and final and rejected.sha256 is not None:
            self._keep(rejected.sha256, Rejected(rejected.reason, rejected.detail, sha256=rejected.sha256))

    def _keep(self, sha256: str, result: T | Rejected) -> None:
        self._results[sha256] = result
        self._results.move_to_end(sha256)
        if len(self._results) > self._entries:
            self._results.popitem(last=False)
