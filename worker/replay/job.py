"""A replay made ready: its plan, the model it is done with, and the worker that does it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from worker.app import Worker
from worker.errors import ConfigurationError, Fatal
from worker.kafka.offsets import TopicOffsets
from worker.kafka.patience import UNATTENDED_S
from worker.kafka.points import Point
from worker.kafka.settings import KafkaSettings
from worker.kafka.standing import Standing
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
    earlier: int = 0
    """Records in its own topic of results, though nothing was begun."""

    @property
    def classifier(self) -> Classifier:
        return _classifier(self.model)

    @property
    def schema_topic(self) -> str:
        """The topic under whose subject a registry has the results' schema: nobody registers it for a replay's own."""
        return self.request.output or self.live.kafka.topics.results

    def heading(self) -> str:
        """What it is, in lines for the operator."""
        topics, identity = self.plan.settings.kafka.topics, self.classifier.identity
        return "\n".join(
            [
                f"replay {self.plan.id} of {topics.input}: {self.plan.offsets} offsets to go",
                "from {} to {}".format(*map(_told, (self.request.start, self.request.end), self.request.points)),
                f"in group {self.plan.settings.kafka.group_id}",
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
        for word, count in self.plan.beyond:
            yield f"{word} is an offset, past the end of {count} partitions: a time is written 2026-01-31T00:00:00Z"
        if self.earlier:
            yield (
                f"{self.plan.settings.kafka.topics.results} has {self.earlier} records already, of a replay of this id "
                "that the cluster has forgotten, or that begins just now: another --id keeps them apart"
            )
        if self.request.points[1].is_yet_to_come:
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
        return Worker(self.plan.settings, self.model, window, self.schema_topic), window.standing

    def require_complete(self, standing: Standing) -> None:
        """Fatal where the replay was stopped before its end."""
        if not standing.complete:
            raise Fatal(
                f"replay {self.plan.id} was stopped with {standing.remaining} offsets left: the same command goes on "
                "with it"
            )


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
    planned = plan(own, request, identity, request.asked(*question), look)
    earlier = _records(own.kafka) if request.output is None and not planned.begun else 0
    return Job(request, planned, model, settings, earlier)


def _told(text: str, point: Point) -> str:
    """A point as it is understood."""
    return point.utc or (f"offset {text}" if point.offset is not None else text)


def _records(settings: KafkaSettings) -> int:
    """How many are in the topic of results, markers included; none where it does not exist."""
    if ClusterLook(settings).partitions(settings.topics.results) is None:
        return 0
    extents = TopicOffsets(settings, settings.topics.results, patience_s=UNATTENDED_S).extents()
    return sum(extent.high - extent.low for extent in extents.values())


def _require_told(settings: KafkaSettings, request: Request) -> None:
    """ConfigurationError where a topic is named that does not exist: only those of the replay's own are made."""
    told = {"--output": request.output, "--dead-letters": request.dead_letters}
    look = ClusterLook(settings)
    for option, name in told.items():
        if name is not None and look.partitions(name) is None:
            raise ConfigurationError(
                f"{option} {name}: there is no such topic, or this user may not DESCRIBE it: create it, or leave "
                f"{option} out"
            )


def _classifier(model: Classifier | Loaded) -> Classifier:
    return model.classifier if isinstance(model, Loaded) else model
