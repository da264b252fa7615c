"""Opens the way of an image: model, fetcher, decoder, batcher; closes them in the opposite order. Used by the worker,
and by the commands that need no Kafka.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import numpy as np
import structlog

from worker.chain import Chain, Classified
from worker.images import simd
from worker.images.decoder import Confinement, Decoder
from worker.images.fetch import Fetcher
from worker.images.pool import DecodePool
from worker.images.settings import ImagesSettings
from worker.images.threads import ThreadDecoder
from worker.models.calibrate import Limits, choose, measure
from worker.models.classifier import Classifier, OutOfMemory, Prepares, Relabels
from worker.models.inference import Batcher
from worker.models.load import Provenance, load_known
from worker.observe.metrics import Metrics
from worker.policy import Policy
from worker.recipe import InputRecipe
from worker.records import Head
from worker.relabelling import Relabelling
from worker.resident import peak_resident_bytes
from worker.seen import Seen
from worker.settings import Settings

log = structlog.get_logger(__name__)

_SEEN_BYTES = 2048
"""Of a result that is kept for the same bytes, beside its scores."""
_OPEN_FILES = 65_536
_LARGEST_MEASURED = 64
_MEASURED_FOR_S = 8.0
"""Of batch sizes, at a start with batch.max_size at `auto`."""


@dataclass(frozen=True, slots=True)
class OpenChain:
    """The way of an image, open for use."""

    chain: Chain
    classifier: Classifier
    head: Callable[[], Head]
    """Labels and identity as they are now."""
    policy: Policy
    batch_size: int
    """Images in a batch at most."""
    provenance: Provenance | None
    """Where the model comes from; None of a classifier that was given."""
    confinement: Confinement
    watching: asyncio.Task[None] | None
    """Follows the file of a zero-shot model's labels. Whoever runs the chain awaits its death."""
    memory_bytes: int
    """A bound on the resident memory of all processes: what is resident now, and all that the settings let grow."""


@asynccontextmanager
async def open_chain(
    settings: Settings, metrics: Metrics, classifier: Classifier | None = None
) -> AsyncIterator[OpenChain]:
    """Load the model (unless one is given) and open fetcher, decoder and batcher; close them at the end."""
    _allow_open_files()
    async with AsyncExitStack() as stack:
        loaded = None
        if classifier is None:
            loaded = await asyncio.to_thread(load_known, settings.model)
            classifier = loaded.classifier
        settings = await asyncio.to_thread(_settled, settings, classifier)
        policy = Policy(settings.policy, classifier.labels)
        fetcher = Fetcher(settings.images, metrics)
        await fetcher.start()
        stack.push_async_callback(fetcher.close)
        decoder = open_decoder(settings.images, classifier.recipe, metrics)
        await decoder.start()
        stack.push_async_callback(decoder.close)
        batcher = Batcher(classifier, settings.batch, metrics)
        await asyncio.to_thread(_fill_up, classifier, settings.batch.size)
        batcher.start()
        stack.push_async_callback(batcher.close)
        watching = _watch(settings, classifier, metrics)
        if watching is not None:
            stack.push_async_callback(_over, watching)
        seen: Seen[Classified] = Seen(settings.images.seen_results, metrics)
        chain = Chain(fetcher, decoder, batcher, policy, metrics, room=_room(settings), seen=seen)
        held = fetcher.memory_bytes() + decoder.memory_bytes() + batcher.memory_bytes()
        held += _chain_bytes(settings, classifier)
        yield OpenChain(
            chain,
            classifier,
            lambda: batcher.head,
            policy,
            settings.batch.size,
            loaded.provenance if loaded else None,
            decoder.confinement(),
            watching,
            peak_resident_bytes() + held,
        )


def _watch(settings: Settings, classifier: Classifier, metrics: Metrics) -> asyncio.Task[None] | None:
    file = settings.model.labels_file
    if file is None or not isinstance(classifier, Relabels):
        return None
    return asyncio.create_task(Relabelling(file, classifier, settings.policy, metrics).watch())


async def _over(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def open_decoder(settings: ImagesSettings, recipe: InputRecipe, metrics: Metrics) -> Decoder:
    """The kind of decoder that the settings name, not started yet."""
    if settings.simd_resize and not simd.available():
        log.warning("decoders.resize", by="pillow", why="no cykooz-resizer for this machine", next="it takes longer")
    if settings.decoders == "processes":
        return DecodePool(settings, recipe, metrics)
    return ThreadDecoder(settings, recipe)


def _settled(settings: Settings, classifier: Classifier) -> Settings:
    """The settings with a number for batch.max_size."""
    if settings.batch.max_size != "auto":
        return settings
    found = measure(classifier, _LARGEST_MEASURED, _MEASURED_FOR_S, Limits())
    chosen = choose(found, Limits())
    rates = {each.size: round(each.images_per_s, 1) for each in found}
    log.info("batch.measured", images_per_s=rates, chosen=chosen.size)
    return settings.model_copy(update={"batch": settings.batch.model_copy(update={"max_size": chosen.size})})


def _room(settings: Settings) -> int:
    """Images that may be decoded and not yet classified: all batches' buffers, one more, and the decoders."""
    at_the_decoders = settings.images.processes * settings.images.slots_per_process
    return (settings.batch.queue_depth + 3) * settings.batch.size + at_the_decoders


def _chain_bytes(settings: Settings, classifier: Classifier) -> int:
    """What the chain itself holds at most: decoded images, and results of bytes that were seen."""
    recipe = classifier.recipe
    pixels = _room(settings) * settings.images.frames * recipe.height * recipe.width * 3
    return pixels + settings.images.seen_results * (_SEEN_BYTES + 4 * len(classifier.labels))


def _allow_open_files() -> None:
    """Raise the soft limit of open files: a topic that names a thousand hosts has as many connections kept alive."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _fill_up(classifier: Classifier, batch_size: int) -> None:
    """Run one full batch, so that the model's largest activations are in the memory that is measured after it.

    Where it does not fit, batches will be split: said here, when the operator looks.
    """
    if isinstance(classifier, Prepares):
        classifier.prepare(batch_size)
    recipe, size = classifier.recipe, batch_size
    while size:
        try:
            classifier.predict(np.zeros((size, recipe.height, recipe.width, 3), np.uint8))
            return
        except OutOfMemory as error:
            log.warning("device.too_small", why=str(error), next="batches are split; lower batch.max_size")
            size //= 2
