"""A look at all that a worker needs, before it joins the group: one finding after the other, going on where it can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from io import BytesIO

from PIL import Image

from worker.errors import ConfigurationError, Fatal, Rejected, Stage, Transient
from worker.images.decoder import Confinement
from worker.images.formats import plugin_of, register
from worker.kafka.registry import Registry
from worker.kafka.schemas import CLASSIFICATION, by_mark, latest
from worker.kafka.settings import EventsSettings
from worker.kafka.topics import ClusterLook, Finding, wanted_topics
from worker.kafka.trial_id import try_id
from worker.models.classifier import Classifier
from worker.models.load import load
from worker.observe.metrics import Metrics
from worker.opening import open_chain
from worker.records import ImageReference
from worker.settings import Settings

_SUBJECT_HINT = "see events.register_schemas, or ask those who own the subject"


async def findings(settings: Settings) -> AsyncIterator[Finding]:
    """Schema files, broker, topics, transactions, registry, model, decoders, and one image through the real chain."""
    if settings.events.schema_files:
        yield _schema_files(settings.events)
    for finding in await asyncio.to_thread(_cluster, settings):
        yield finding
    if settings.events.registry_url is not None:
        async for finding in registry_findings(settings.events, settings.kafka.topics.results):
            yield finding
    classifier, finding = await asyncio.to_thread(_model, settings)
    yield finding
    if classifier is not None:
        async for finding in _image(settings, classifier):
            yield finding


def _cluster(settings: Settings) -> list[Finding]:
    """The broker, and the topics where it answers, and whether there are transactions where they are needed."""
    try:
        wanted = wanted_topics(settings.kafka, settings.policy.topics)
    except ConfigurationError as error:
        return [_failed("topics", error)]
    try:
        look = ClusterLook(settings.kafka)
        where = f"{look.brokers} at {settings.kafka.bootstrap_servers}"
        once = [try_id(settings.kafka)] if settings.kafka.delivery == "exactly-once" else []
        return [Finding("broker", where), *look.topics(wanted), *once]
    except Fatal as error:
        return [_failed("broker", error)]


def _schema_files(settings: EventsSettings) -> Finding:
    try:
        return Finding("events.schema_files", f"{len(by_mark(settings.schema_files))} schemas are known")
    except Fatal as error:
        return _failed("events.schema_files", error)


async def registry_findings(settings: EventsSettings, results: str) -> AsyncIterator[Finding]:
    """The registry, and whether the topic of results may carry this release's schema."""
    subject, schema = f"{results}-value", latest(CLASSIFICATION)
    async with _open_registry(settings) as registry:
        try:
            compatible = await registry.compatible(subject, schema)
            yield Finding("registry", f"answers at {registry.url}")
            if not compatible:
                yield Finding(f"subject {subject}", "its schema is not compatible with this release's", _SUBJECT_HINT)
            elif settings.output_encoding != "json" and not settings.register_schemas:
                yield Finding(f"subject {subject}", f"has the schema as id {await registry.id_of(subject, schema)}")
            else:
                yield Finding(f"subject {subject}", "compatible")
        except Transient as outage:
            yield Finding("registry", str(outage), "check events.registry_url, its user and password, and the network")
        except Fatal as error:
            yield _failed(f"subject {subject}", error)


@asynccontextmanager
async def _open_registry(settings: EventsSettings) -> AsyncIterator[Registry]:
    registry = Registry(settings)
    try:
        yield registry
    finally:
        await registry.close()


def _model(settings: Settings) -> tuple[Classifier | None, Finding]:
    try:
        classifier = load(settings.model)
    except Fatal as error:
        return None, _failed("model", error)
    identity = classifier.identity
    return classifier, Finding("model", f"{identity.name}, {len(classifier.labels)} labels, {identity.runtime}")


async def _image(settings: Settings, classifier: Classifier) -> AsyncIterator[Finding]:
    """The decoders, and the package's own photograph, in a format that the settings allow, through the real chain."""
    try:
        async with open_chain(settings, Metrics(), classifier) as room:
            yield _decoders(room.confinement)
            reference = ImageReference(image=_photograph(settings.images.formats[0]))
            seen = await room.chain.classify(reference, _Progress())
    except (Fatal, Rejected, Transient) as error:
        yield _failed("image", error)
    else:
        decision = seen.decision
        yield Finding("image", f"classified: {decision.label} {decision.score:.3f}, {decision.action}")


def _decoders(confinement: Confinement) -> Finding:
    """No failure where they are not confined: the operator chose so, or has no such kernel."""
    what = f"{confinement.count} {confinement.decoders}"
    if confinement.shut:
        return Finding("decoders", f"{what} with no network, no files, no programs")
    return Finding("decoders", f"{what}, NOT confined: {confinement.open_because}")


class _Progress:
    stage: Stage = Stage.FETCH


def _photograph(file_format: str) -> bytes:
    """Chelsea the cat, by Stéfan van der Walt, CC0; out of scikit-image."""
    stored = (files("worker") / "check.jpg").read_bytes()
    if file_format == "jpeg":
        return stored
    register((file_format,))
    stream = BytesIO()
    Image.open(BytesIO(stored)).save(stream, plugin_of(file_format))
    return stream.getvalue()


def _failed(subject: str, error: Exception) -> Finding:
    """The finding of an error; its text says what to do."""
    return Finding(subject, "", str(error))
