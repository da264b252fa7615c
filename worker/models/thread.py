"""The inference thread: batch after batch through the model, until it is ended or dies."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable

from worker.errors import Fatal
from worker.models.classifier import PixelBatch
from worker.models.runner import Run, Runner


class InferenceThread:
    """Takes batches in their order and tells of each when it is done. Its callbacks run in the event loop."""

    def __init__(self, runner: Runner, done: Callable[[Run], None], died: Callable[[str], None]) -> None:
        """`done` gets each batch's run, in the order of `submit`; `died` what killed the thread, and then nothing."""
        self._runner = runner
        self._done = done
        self._died = died
        self._batches: queue.SimpleQueue[PixelBatch | None] = queue.SimpleQueue()

    def start(self) -> None:
        """Called once, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        # A daemon: a second signal leaves at once, whatever the model is doing.
        threading.Thread(target=self._infer, name="inference", daemon=True).start()

    def submit(self, pixels: PixelBatch) -> None:
        """Hands over (N, H, W, 3) uint8 pixels, which stay as they are until `done` is called for them."""
        self._batches.put(pixels)

    def end(self) -> None:
        """No more batches: the thread ends after those it has."""
        self._batches.put(None)

    async def over(self) -> None:
        """Returns when the thread has ended or died, and every callback was made."""
        await asyncio.shield(self._over)

    def _infer(self) -> None:
        death: BaseException | None = None
        try:
            while (pixels := self._batches.get()) is not None:
                self._loop.call_soon_threadsafe(self._done, self._runner.run(pixels))
        except BaseException as error:  # noqa: BLE001  (whoever waits is told by _finish)
            death = error
        self._loop.call_soon_threadsafe(self._finish, death)

    def _finish(self, death: BaseException | None) -> None:
        if death is not None:
            self._died(str(death) if isinstance(death, Fatal) else f"the inference thread died: {death!r}")
        self._over.set_result(None)
