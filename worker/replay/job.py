"""A replay made ready: its plan, the model it is done with, and the worker that does it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from worker.app import Worker
from worker.errors import Fatal
from worker.kafka.offsets import TopicOffsets
from worker.kafka.patience import UNATTENDED_S
from worker.kafka.settings import KafkaSettings
from worker.kafka.standing import Standing, length
from worker.kafka.topics import ClusterLook
from worker.kafka.twins import make_twins
from worker.models.classifier import Classifier
from worker.models.load import Loaded, load_known
from worker.replay.derive import derived
from worker.replay.plan import Plan, plan
from worker.replay.request import Request
from worker.settings import Resolved, Settings


@dataclass(frozen=True, slots=True)
class Job:
    """A replay, ready to be done."""

    request: Request
    plan: Plan
    model: Classifier | Loaded
    live: Settings

    @property
    def classifier(self) -> Classifier:
        return _classifier(self.model)

    def heading(self) -> str:
        """What it is, in lines for the operator."""
        topics, identity = self.plan.settings.kafka.topics, self.classifier.identity
        return "\n".join(
            [
                f"replay {self.plan.id} of {topics.input}: {self.plan.offsets} offsets to go",
                f"model {identity.name}, {identity.runtime} {identity.precision}, {identity.fingerprint[:12]}",
                f"into {topics.results}, dead letters into {topics.dead_letters}",
                *self._warnings(),
            ]
        )

    def _warnings(self) -> Iterable[str]:
        for number in self.plan.cut:
            yield f"partition {number} begins at {self.plan.spans[number][0]}: older records of that time may be gone"
        for number, (count, low) in self.plan.gone.items():
            group = self.plan.settings.kafka.group_id
            yield (
                f"partition {number}: {count} offsets were deleted before they were done, and the replay stops there: "
                f"to go on at {low}, run: image-worker offsets set --group {group} --partitions {number} --to {low}"
            )
        last = self.request.points[1]
        if last.time_ms is not None and last.time_ms > 1000 * time.time():
            yield f"--to {self.request.end} is yet to come: what is written from now on is not done, nor done later"
        if self.plan.empty:
            yield (
                f"there is nothing from {self.request.start} to {self.request.end}: `image-worker offsets show` says "
                "which offsets there are"
            )

    def make_topics(self) -> None:
        """Create the topics of its own that are missing. Raises Fatal where the cluster does not let it."""
        own, live, request = self.plan.settings.kafka.topics, self.live.kafka.topics, self.request
        results = {own.results: live.results} if request.output is None else {}
        dead_letters = {own.dead_letters: live.dead_letters} if request.dead_letters is None else {}
        make_twins(self.live.kafka, results | dead_letters)

    def worker(self) -> tuple[Worker, Standing]:
        """The worker that ends with the replay, and what is known of how far that is."""
        window = self.plan.window()
        return Worker(self.plan.settings, self.model, window), window.standing

    def require_complete(self, standing: Standing) -> None:
        """Fatal where the replay was stopped before its end."""
        if not standing.complete:
            left = sum(map(length, standing.left.values()))
            raise Fatal(f"replay {self.plan.id} was stopped with {left} offsets left: the same command goes on with it")


def prepare(found: Resolved, request: Request, given: Classifier | None = None) -> Job:
    """Load the model, unless one is given, and look at the topic and the group. Joins and commits nothing.

    Raises Fatal.
    """
    settings = found.settings
    # First what is quick to say: a model takes its time.
    _require_told(settings.kafka, request)
    look = TopicOffsets(settings.kafka, settings.kafka.topics.input, request.partitions, patience_s=UNATTENDED_S)
    model = given or load_known(settings.model)
    question = (settings, _classifier(model).identity.fingerprint)
    identity = request.identity(*question)
    port_is_told = found.origins.get(("observe", "port"), "").startswith("flag")
    own = derived(settings, request, identity, port_is_told=port_is_told)
    return Job(request, plan(own, request, identity, request.asked(*question), look), model, settings)


def _require_told(settings: KafkaSettings, request: Request) -> None:
    """Fatal where a topic is named that does not exist: only those of the replay's own are made."""
    told = {"--output": request.output, "--dead-letters": request.dead_letters}
    look = ClusterLook(settings)
    for option, name in told.items():
        if name is not None and look.partitions(name) is None:
            raise Fatal(
                f"{option} {name}: there is no such topic, or this user may not DESCRIBE it: create it, or leave "
                f"{option} out"
            )


def _classifier(model: Classifier | Loaded) -> Classifier:
    return model.classifier if isinstance(model, Loaded) else model
