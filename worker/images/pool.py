"""The pool of decode processes: a crash or a hang costs one image, not the worker. Owned by the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import struct
from collections import deque

import structlog

from worker.errors import Fatal, Reason, Rejected
from worker.images import wire
from worker.images.decoder import Confinement, check_recipe
from worker.images.forks import ForkServer
from worker.images.forkserver import BUSY, Orders
from worker.images.process import DecodeProcess, Work
from worker.images.settings import ImagesSettings
from worker.observe.metrics import Metrics
from worker.recipe import InputRecipe
from worker.records import EncodedImage, Pixels

log = structlog.get_logger(__name__)

_START_LIMIT_S = 20.0
_REPORT_LIMIT_S = 5.0
"""From the end of a process's socket to the fork server's word on how it died."""
_FORK_SERVER_BYTES = 64 * 1024 * 1024
"""Ample: it holds Pillow and reads nothing hostile."""
_FAILED_STARTS = 5
"""Processes that die one after the other before they stand, until the pool gives up."""
_CRASHES = 2
"""A process may be killed from outside, or of memory its neighbour took: an image is blamed at its second crash."""


class DecodePool:
    """Decodes images in processes that are replaced when they die or take too long."""

    def __init__(self, settings: ImagesSettings, recipe: InputRecipe, metrics: Metrics) -> None:
        """Raises ConfigurationError for a recipe whose steps do not end in the model's input size."""
        check_recipe(recipe)
        self._shape = (recipe.height, recipe.width, 3)
        self._count = settings.processes
        self._max_bytes = settings.max_bytes
        self._limit_s = settings.decode_timeout_s
        self._look_every_s = min(0.25, self._limit_s / 10)
        self._metrics = metrics
        pixel_bytes = settings.frames * recipe.height * recipe.width * 3
        self._layout = wire.layout(settings.slots_per_process, settings.max_bytes, pixel_bytes)
        self._memory_bytes = settings.decode_memory_bytes
        orders = Orders(recipe, settings.limits, self._layout, self._memory_bytes, settings.decode_timeout_s)
        self._server = ForkServer(orders, self._died)
        self._processes: list[DecodeProcess] = []
        self._queue: deque[Work] = deque()
        self._failed_starts = 0
        self._open_because = "it is not started"
        self._fatal: Fatal | None = None
        self._standing = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    def memory_bytes(self) -> int:
        """What all decode processes and the memory shared with them can take at most, as the settings have it."""
        return _FORK_SERVER_BYTES + self._count * (self._layout.total_bytes + self._memory_bytes)

    def confinement(self) -> Confinement:
        """What holds for the processes: all are alike."""
        return Confinement("processes", self._count, self._memory_bytes, self._open_because)

    async def start(self) -> None:
        """Start the processes and wait until they stand. Raises Fatal where they do not."""
        self._loop = asyncio.get_running_loop()
        for _ in range(self._count):
            self._spawn()
        self._watch = self._loop.create_task(self._kill_overdue())
        self._watch.add_done_callback(self._unwatched)
        await self._standing.wait()
        if self._fatal is not None:
            await self.close()
            raise self._fatal

    async def close(self) -> None:
        """End every process. Images still on their way are rejected with Fatal."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        self._give_up(Fatal("the decode pool is closed"))
        await self._server.close()

    async def decode(self, encoded: EncodedImage) -> Pixels:
        """The image at the model's input size.

        Waits for a free slot. Raises Rejected (a reason of the decode stage, DIGEST_MISMATCH or TOO_LARGE), or Fatal
        where processes can no longer be started.
        """
        if self._fatal is not None:
            raise self._fatal
        if len(encoded.data) > self._max_bytes:
            raise Rejected(Reason.TOO_LARGE, f"the image has more than {self._max_bytes} bytes")
        work = Work(encoded, self._loop.create_future())
        self._queue.append(work)
        self._dispatch()
        return await work.pixels

    def _spawn(self) -> None:
        if self._fatal is not None:
            return
        try:
            process = DecodeProcess(self._server, self._layout, self._loop.time())
        except OSError as error:
            self._give_up(Fatal(f"no decode process can be started: {error}"))
            return
        self._processes.append(process)
        self._loop.add_reader(process.connection, self._hear, process)

    def _dispatch(self) -> None:
        while self._queue:
            process = max(self._processes, key=lambda candidate: candidate.free_slots, default=None)
            if process is None or not process.free_slots:
                return
            work = self._queue.popleft()
            if work.pixels.done():  # cancelled while it waited
                continue
            # If it is gone, its socket says so to `_hear`, after the answers that it gave before.
            with contextlib.suppress(OSError):
                process.give(work, self._loop.time())

    def _hear(self, process: DecodeProcess) -> None:
        """A process said something, or ended."""
        try:
            message = process.connection.recv(wire.MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._lose(process)
        elif not process.ready:
            self._welcome(process, message)
        else:
            self._settle(process, message)

    def _welcome(self, process: DecodeProcess, message: bytes) -> None:
        try:
            process.greet(message)
        except (OSError, ValueError, struct.error) as error:
            process.manner = f"its greeting was none: {error}"
            self._lose(process)
            return
        self._failed_starts = 0
        self._open_because = process.open_because or ""
        if all(each.ready for each in self._processes):
            self._standing.set()
        self._dispatch()

    def _settle(self, process: DecodeProcess, message: bytes) -> None:
        try:
            work, outcome = process.take(message, self._shape, self._loop.time())
        except (ValueError, LookupError, struct.error) as error:
            process.manner = f"its answer was none: {error}"
            self._lose(process)
            return
        if not work.pixels.done():
            if isinstance(outcome, Pixels):
                work.pixels.set_result(outcome)
            else:
                work.pixels.set_exception(outcome)
        self._dispatch()

    def _lose(self, process: DecodeProcess) -> None:
        """Nothing more comes from a process."""
        self._hear_no_more(process)
        process.lose(self._loop.time())
        if process.manner is not None:
            self._bury(process)

    def _hear_no_more(self, process: DecodeProcess) -> None:
        if process.lost_at is None:
            self._loop.remove_reader(process.connection)

    def _died(self, serial: int, manner: str) -> None:
        """The fork server's word. What the process said before it died may still lie in its socket, before the end."""
        process = next((each for each in self._processes if each.serial == serial), None)
        if process is not None:
            process.manner = manner
            if process.lost_at is not None:
                self._bury(process)

    def _bury(self, process: DecodeProcess) -> None:
        """A process is dead: blame the image it worked on, give the others to its successor."""
        self._hear_no_more(process)
        self._processes.remove(process)
        process.close()
        cause = "start" if not process.ready else "timeout" if process.overdue else "crash"
        self._metrics.decoder_restarts.labels(cause).inc()
        if cause != "timeout":
            log.warning("decoder.died", how=process.manner, images_given=len(process.given))
        self._failed_starts += not process.ready
        waiting = [work for _, work in process.given]
        if waiting and not self._blame(waiting[0], process):
            waiting = waiting[1:]
        self._queue.extendleft(reversed(waiting))
        if self._failed_starts >= _FAILED_STARTS:
            self._give_up(Fatal("decode processes die before they stand; their message is on stderr above"))
            return
        self._spawn()
        self._dispatch()

    def _blame(self, work: Work, process: DecodeProcess) -> bool:
        """Whether the image gets another try; if not, it is rejected."""
        work.crashes += 1
        if not process.overdue and work.crashes < _CRASHES:
            return True
        if not work.pixels.done():
            work.pixels.set_exception(self._verdict(work, process))
        return False

    def _verdict(self, work: Work, process: DecodeProcess) -> Rejected:
        # Its process would have said it. Some milliseconds here, for an image that took seconds or two processes.
        sha256 = hashlib.sha256(work.encoded.data).hexdigest()
        if process.overdue:
            detail = f"decoding took longer than {self._limit_s:g} s"
            return Rejected(Reason.DECODE_TIMEOUT, detail, sha256=sha256)
        detail = f"{_CRASHES} decode processes died of this image, the last one so: {process.manner}"
        return Rejected(Reason.DECODER_CRASHED, detail, sha256=sha256)

    def _give_up(self, fatal: Fatal) -> None:
        self._fatal = self._fatal or fatal
        works = [work for process in self._processes for _, work in process.given] + list(self._queue)
        self._queue.clear()
        for process in self._processes:
            self._hear_no_more(process)
            process.close()
        self._processes.clear()
        for work in works:
            if not work.pixels.done():
                work.pixels.set_exception(fatal)
        self._standing.set()

    def _unwatched(self, watch: asyncio.Task[None]) -> None:
        if not watch.cancelled() and watch.exception() is not None:
            self._give_up(Fatal(f"nobody watches the decode processes any more: {watch.exception()!r}"))

    async def _kill_overdue(self) -> None:
        """Kill whoever works on one image, or on standing up, for longer than allowed. No timer an image."""
        while True:
            await asyncio.sleep(self._look_every_s)
            now = self._loop.time()
            for process in list(self._processes):
                self._look_after(process, now)

    def _look_after(self, process: DecodeProcess, now: float) -> None:
        if process.lost_at is not None and now - process.lost_at > _REPORT_LIMIT_S:
            process.manner = "the fork server says nothing"
            self._bury(process)
        elif not process.ready and now - process.born > _START_LIMIT_S:
            process.manner = "it did not stand in time"
            self._bury(process)
        elif process.given and not process.overdue and self._is_overdue(process, now):
            process.overdue = True
            process.kill()

    def _is_overdue(self, process: DecodeProcess, now: float) -> bool:
        """Whether its image has had the time that it may take: of a CPU, since a busy machine is not its fault."""
        worked_s, took_s = process.worked_s(), now - process.head_since
        enough = worked_s > self._limit_s - 2 * self._look_every_s
        return took_s > (self._limit_s if enough else BUSY * self._limit_s)
