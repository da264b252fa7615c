"""How each assigned partition stands, in words for the operator: what is not done, for how long, and where to look."""

from __future__ import annotations

from dataclasses import dataclass

from worker.errors import Stage

_LOOK_AT = {
    Stage.EVENT: "pipeline.outage in the log: the schema registry may be away",
    Stage.FETCH: "the host of its image's address, images.total_timeout_s and images.host_wait_s; pipeline.outage in "
    "the log, where it is the network",
    Stage.DECODE: "images.decode_timeout_s, and whether this machine has a CPU left for the decoders",
    Stage.CLASSIFY: "the model and its device, and observe.stuck_batch_after_s",
    Stage.PUBLISH: "kafka.settle_waits in the log: it is done, and waits for the broker or for its turn",
}


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One assigned partition, as of the last report. Of one that is not begun nothing is known but for how long."""

    topic: str
    partition: int
    in_flight: int = 0
    committed: int | None = None
    lag: int | None = None
    oldest_offset: int | None = None
    oldest_stage: Stage | None = None
    oldest_age_s: float = 0.0
    waiting_s: float = 0.0
    """For how long it is assigned and not begun, since its start is not known."""
    failing_s: float = 0.0
    """For how long it cannot be fetched."""
    failing: str | None = None
    """Why not, as far as it is known here."""

    @property
    def standstill_s(self) -> float:
        return max(self.oldest_age_s, self.waiting_s, self.failing_s)

    @property
    def standstill(self) -> str:
        """What is not done and where it is."""
        where = f"{self.topic}[{self.partition}]"
        if self.waiting_s:
            return f"{where} is assigned and not begun for {self.waiting_s:.0f} s: see kafka.start_waits in the log"
        if self.failing_s > self.oldest_age_s:
            return f"{where} cannot be fetched for {self.failing_s:.0f} s: {self.failing}"
        return (
            f"{where}@{self.oldest_offset} is unsettled for {self.oldest_age_s:.0f} s, at the stage {self.oldest_stage}"
        )

    @property
    def look_at(self) -> str:
        """Where its cause is to be found."""
        if self.waiting_s:
            return "kafka.start_waits in the log: a broker is away, or a former owner's transaction is open"
        if self.failing_s > self.oldest_age_s or self.oldest_stage is None:
            return "the brokers and their log; kafka.poll_error and kafka.client_error in this one, where there are any"
        return _LOOK_AT[self.oldest_stage]
