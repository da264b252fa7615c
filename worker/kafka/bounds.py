"""Where a replay begins and ends in each partition, kept where all its members find it, and where it outlives them: in
the group's committed offsets.

Whoever is the first to be given a partition, which is one member at a time, commits its start, with its end in the
commit's metadata (starts.py); each later commit carries that along, and each later owner goes by it. So processes share
a replay without speaking to each other, and one that is started again finds where it was.
"""

from __future__ import annotations

from collections.abc import Mapping

from worker.errors import ConfigurationError
from worker.kafka.ledger import Partition, Position
from worker.kafka.progress import Progress, Span, parse


class Bounds:
    """The bounds that one process would give to the partitions which nobody has begun."""

    def __init__(self, spans: Mapping[int, Span], asked: str) -> None:
        """`spans`: by partition, as of the start of this process.

        `asked`: a digest of the question that they are the answer to. It stands in each commit.
        """
        self._spans = spans
        self._asked = asked

    def begin(self, partition: Partition) -> Progress | None:
        """Where a partition begins and ends; None where it is not of the replay."""
        span = self._spans.get(partition[1])
        return None if span is None else Progress(span[0], until=span[1], asked=self._asked)

    def known(self, position: Position) -> Progress:
        """What was committed for this replay. ConfigurationError where it cannot be read, or was for something else."""
        try:
            progress = parse(position.offset, position.metadata)
        except ValueError as error:
            raise ConfigurationError(
                f"the progress of this replay cannot be read: {error}: choose another --id"
            ) from error
        self.check(progress)
        return progress

    def check(self, progress: Progress) -> None:
        """ConfigurationError where what was committed is not of the replay that is asked for."""
        if progress.until is None:
            raise ConfigurationError(
                "the group of this replay has offsets that no replay committed: choose another --id"
            )
        if progress.asked != self._asked:
            raise ConfigurationError(
                "a replay of this id has another --from, --to or --partitions, another model, another policy, or other "
                "topics for its outcomes: write those, or choose another --id"
            )
