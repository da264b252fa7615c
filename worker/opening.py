"""Opens the way of an image: model, fetcher, decoder, batcher; closes them in the opposite order. Used by the worker,
and by the commands that need no Kafka.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from worker.chain import Chain, Classified
from worker.images import simd
from worker.images.decoder import Confinement, Decoder
from worker.images.fetch import Fetcher
from worker.images.pool import DecodePool
from worker.images.settings import ImagesSettings
from worker.images.threads import ThreadDecoder
from worker.models.classifier import Classifier, Relabels
from worker.models.inference import Batcher
from worker.models.load import Loaded, Provenance
from worker.models.ready import fill_up, load_model
from worker.observe.metrics import Metrics
from worker.observe.watchdog import Part
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
    """Where the model comes from; None of a classifier that was given without it."""
    confinement: Confinement
    watching: asyncio.Task[None] | None
    """Follows the file of a zero-shot model's labels. Whoever runs the chain awaits its death."""
    inference: Part
    """What a watchdog watches of it."""
    memory_bytes: int
    """A bound on the resident memory of all processes: what is resident now, and all that the settings let grow."""


@asynccontextmanager
async def open_chain(
    settings: Settings, metrics: Metrics, given: Classifier | Loaded | None = None
) -> AsyncIterator[OpenChain]:
    """Load the model (unless one is given) and open fetcher, decoder and batcher; close them at the end."""
    _allow_open_files()
    async with AsyncExitStack() as stack:
        model = await asyncio.to_thread(load_model, settings.model, settings.batch, given)
        settings, classifier = settings.model_copy(update={"batch": model.batch}), model.classifier
        policy = Policy(settings.policy, classifier.labels)
        fetcher = Fetcher(settings.images, metrics)
        await fetcher.start()
        stack.push_async_callback(fetcher.close)
        decoder = open_decoder(settings.images, classifier.recipe, metrics)
        await decoder.start()
        stack.push_async_callback(decoder.close)
        batcher = Batcher(classifier, settings.batch, metrics)
        await asyncio.to_thread(fill_up, model)
        batcher.start()
        stack.push_async_callback(batcher.close)
        seen: Seen[Classified] = Seen(settings.images.seen_results, metrics)
        room = _room(settings, batcher)
        chain = Chain(fetcher, decoder, batcher, policy, metrics, room=room, seen=seen)
        held = fetcher.memory_bytes() + decoder.memory_bytes() + batcher.memory_bytes()
        yield OpenChain(
            chain,
            classifier,
            lambda: batcher.head,
            policy,
            settings.batch.size,
            model.provenance,
            decoder.confinement(),
            _watch(stack, settings, classifier, metrics),
            batcher.part(settings.observe.stuck_batch_after_s),
            peak_resident_bytes() + held + _chain_bytes(settings, classifier, room),
        )


def _watch(
    stack: AsyncExitStack, settings: Settings, classifier: Classifier, metrics: Metrics
) -> asyncio.Task[None] | None:
    file = settings.model.labels_file
    if file is None or not isinstance(classifier, Relabels):
        return None
    watching = asyncio.create_task(Relabelling(file, classifier, settings.policy, metrics).watch())
    stack.push_async_callback(_over, watching)
    return watching


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


def _room(settings: Settings, batcher: Batcher) -> int:
    """Images that may be decoded and not yet classified: all batches' buffers, one more, and the decoders."""
    at_the_decoders = settings.images.processes * settings.images.slots_per_process
    return (batcher.buffers + 1) * settings.batch.size + at_the_decoders


def _chain_bytes(settings: Settings, classifier: Classifier, room: int) -> int:
    """What the chain itself holds at most: decoded images, and results of bytes that were seen."""
    recipe = classifier.recipe
    pixels = room * settings.images.frames * recipe.height * recipe.width * 3
    return pixels + settings.images.seen_results * (_SEEN_BYTES + 4 * len(classifier.labels))


def _allow_open_files() -> None:
    """Raise the soft limit of open files: a topic that names a thousand hosts has as many connections kept alive."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
