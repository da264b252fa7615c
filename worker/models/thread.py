"""The inference thread: batch after batch through the model, until it is ended or dies."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable

from worker.errors import Fatal
from worker.models.classifier import PixelBatch
from worker.models.runner import Begun, Run, Runner


class InferenceThread:
    """Takes batches in their order and tells of each when it is done. Its callbacks run in the event loop."""

    def __init__(self, runner: Runner, done: Callable[[Run], None], died: Callable[[str], None]) -> None:
        """`done` gets each batch's run, in the order of `submit`; `died` what killed the thread, and then nothing."""
        self._runner = runner
        self._done = done
        self._died = died
        self._batches: queue.SimpleQueue[PixelBatch | None] = queue.SimpleQueue()
        # A daemon: a second signal leaves at once, whatever the model is doing.
        self.thread = threading.Thread(target=self._infer, name="inference", daemon=True)
        self.busy_since_s: float | None = None
        """Since when, by the monotonic clock, it computes what it computes now; None while it waits for a batch."""

    def start(self) -> None:
        """Called once, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self.thread.start()

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
            self._work()
        except BaseException as error:  # noqa: BLE001  (whoever waits is told by _finish)
            death = error
        self._loop.call_soon_threadsafe(self._finish, death)

    def _work(self) -> None:
        under_way: deque[Begun] = deque()
        ending = False
        while under_way or not ending:
            if not ending and len(under_way) < self._runner.at_once:
                try:
                    # With a batch under way, see only whether another one stands ready: nothing waits for it.
                    pixels = self._batches.get(block=not under_way)
                except queue.Empty:
                    pass
                else:
                    ending = pixels is None
                    if pixels is not None:
                        self.busy_since_s = time.monotonic()
                        under_way.append(self._runner.begin(pixels))
                    continue
            self._loop.call_soon_threadsafe(self._done, self._runner.finish(under_way.popleft()))
            self.busy_since_s = time.monotonic() if under_way else None

    def _finish(self, death: BaseException | None) -> None:
        if death is not None:
            self._died(str(death) if isinstance(death, Fatal) else f"the inference thread died: {death!r}")
        self._over.set_result(None)
