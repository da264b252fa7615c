"""Which instance this worker is: its `transactional.id`, held against other processes of this machine.

The broker fences whoever used an id before, so a second worker with the same id would end the first. A name in Linux's
abstract socket namespace belongs to one process and is free when that has ended, however it ended: whoever comes second
on a machine sees it in time. A clash between machines is only seen by the broker, which fences.
"""

from __future__ import annotations

import errno
import hashlib
import socket
import sys
from itertools import count

from worker.errors import ConfigurationError
from worker.kafka.settings import KafkaSettings


class Claim:
    """A `transactional.id` that no other process of this machine has, until it is released."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Raises ConfigurationError where the id that the settings name is in use here."""
        self._cluster = settings.bootstrap_servers
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if settings.transactional_id is None:
            stem = f"{settings.group_id}-{socket.gethostname()}"
            self.transactional_id = next(name for name in (f"{stem}-{n}" for n in count()) if self._take(name))
            return
        self.transactional_id = settings.transactional_id
        if not self._take(self.transactional_id):
            self.release()
            raise ConfigurationError(
                f"kafka.transactional_id: another process on this machine uses {self.transactional_id!r}: give each "
                "worker its own, or leave it out"
            )

    def release(self) -> None:
        self._socket.close()

    def _take(self, name: str) -> bool:
        if sys.platform != "linux":
            return True
        digest = hashlib.sha256(f"{self._cluster} {name}".encode()).hexdigest()[:32]
        try:
            self._socket.bind(f"\0image-worker.{digest}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True
