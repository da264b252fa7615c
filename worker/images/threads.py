"""Decoding in threads of the worker: for images that are trusted. Owned by the event loop.

Nothing is confined here. A crash in a decoder ends the worker, memory has no limit of its own, and a thread cannot be
stopped: who waits for an image that takes too long is told so, but its thread works on to the end, and takes no other
image until then.
"""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from worker.errors import Fatal, Reason, Rejected
from worker.images.decode import Decoded, decode, prepare
from worker.images.decoder import Confinement, check_recipe
from worker.images.settings import ImagesSettings
from worker.recipe import InputRecipe
from worker.records import EncodedImage, Pixels


class ThreadDecoder:
    """A `Decoder` of threads."""

    def __init__(self, settings: ImagesSettings, recipe: InputRecipe) -> None:
        """Raises ConfigurationError for a recipe whose steps do not end in the model's input size."""
        check_recipe(recipe)
        self._recipe = recipe
        self._limits = settings.limits
        self._max_bytes = settings.max_bytes
        self._limit_s = settings.decode_timeout_s
        self._count = settings.processes
        self._memory_bytes = settings.decode_memory_bytes
        self._executor = ThreadPoolExecutor(self._count, "decode")
        self._idle = asyncio.Semaphore(self._count)
        self._tasks: set[asyncio.Task[Pixels]] = set()
        self._closed = False

    def memory_bytes(self) -> int:
        """What the decodings can take, if each keeps to `images.decode_memory_bytes`. Nothing makes them."""
        return self._count * self._memory_bytes

    def confinement(self) -> Confinement:
        """Nothing holds."""
        return Confinement("threads", self._count, None, "images.decoders is threads")

    async def start(self) -> None:
        """Set Pillow up, for the whole process."""
        prepare(self._limits)

    async def close(self) -> None:
        """Reject images still on their way with Fatal. Threads that still decode are left to themselves."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def decode(self, encoded: EncodedImage) -> Pixels:
        """The image's sampled frames at the model's input size; raises as `Decoder.decode`."""
        self._check_open()
        if len(encoded.data) > self._max_bytes:
            raise Rejected(Reason.TOO_LARGE, f"the image has more than {self._max_bytes} bytes")
        task = asyncio.create_task(self._decode(encoded))
        self._tasks.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            self._check_open()
            raise
        finally:
            self._tasks.discard(task)

    async def _decode(self, encoded: EncodedImage) -> Pixels:
        await self._idle.acquire()
        work = asyncio.get_running_loop().run_in_executor(
            self._executor, decode, encoded.data, self._recipe, self._limits, encoded.expected_sha256
        )
        work.add_done_callback(self._is_idle)
        try:
            async with asyncio.timeout(self._limit_s):
                return self._pixels(await asyncio.shield(work))
        except TimeoutError:
            detail, sha256 = f"decoding took longer than {self._limit_s:g} s", hashlib.sha256(encoded.data).hexdigest()
            raise Rejected(Reason.DECODE_TIMEOUT, detail, sha256=sha256) from None

    def _is_idle(self, work: asyncio.Future[Decoded]) -> None:
        self._idle.release()
        if not work.cancelled():
            work.exception()  # nobody waits any more for one that took too long

    def _pixels(self, decoded: Decoded) -> Pixels:
        shape = (len(decoded.frames), self._recipe.height, self._recipe.width, 3)
        return Pixels(
            np.frombuffer(decoded.pixels, np.uint8).reshape(shape),
            decoded.width,
            decoded.height,
            decoded.format,
            decoded.sha256,
            decoded.frames,
            decoded.frame_count,
        )

    def _check_open(self) -> None:
        if self._closed:
            raise Fatal("the decoder is closed")
