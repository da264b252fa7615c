"""A zero-shot model's labels follow a file. On the event loop."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path

import structlog

from worker.errors import ConfigurationError
from worker.models.backends.label_set import read_labels
from worker.models.classifier import Relabels
from worker.observe.metrics import Metrics
from worker.policy import Policy, PolicySettings
from worker.records import ModelIdentity

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 1.0
Stamp = tuple[int, int, int]


class Relabelling:
    """Looks at the file again and again. What cannot be used is refused, and the labels stay as they are."""

    def __init__(self, file: Path, classifier: Relabels, policy: PolicySettings, metrics: Metrics) -> None:
        self._file = file
        self._classifier = classifier
        self._policy = policy
        self._metrics = metrics
        self._taken = self._stamp()
        self._last = self._taken

    async def watch(self) -> None:
        """Runs until it is cancelled. Raises Fatal where the model fails."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Take the file's labels where it has changed, and stood still since the last look: it may be half written."""
        stamp = await asyncio.to_thread(self._stamp)
        before, self._last = self._last, stamp
        if stamp in (self._taken, None) or stamp != before:
            return
        self._taken = stamp
        try:
            await self._take()
        except ConfigurationError as error:
            log.error("labels.refused", why=str(error), next="the labels stay as they are; mend the file")
            self._metrics.labels_refused.set(1)
        else:
            self._metrics.labels_refused.set(0)

    async def _take(self) -> None:
        labels = await asyncio.to_thread(read_labels, self._file)
        Policy(self._policy, labels)  # a threshold for a label that went would never be met again, and nobody told
        identity = await asyncio.to_thread(self._classifier.relabel, labels)
        self._tell(identity)
        log.warning("labels.changed", version=identity.labels_version, labels=len(labels), takes="the next batch")

    def _tell(self, identity: ModelIdentity) -> None:
        self._metrics.model_info.clear()
        self._metrics.model_info.labels(**asdict(identity)).set(1)

    def _stamp(self) -> Stamp | None:
        """What changes with the file; None while it is not there, as between two steps of whoever replaces it."""
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
