"""Batches through a torch module on one device: to the device, padded where that is wanted, and scores back.

One code path for a CPU and a CUDA device: only the way to the device and back differs. On a CUDA device a batch goes
through pinned memory on a stream of its own while the batch before is computed; on a CPU the work is done when the
scores are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from worker.errors import Fatal
from worker.models.batch import bucket_of, buckets
from worker.models.classifier import OutOfMemory, PixelBatch, ScoreBatch
from worker.models.lines import first_line

Score = Callable[[torch.Tensor], torch.Tensor]
"""(N, H, W, 3) uint8 on the device to (N, L) float32 scores there."""

T = TypeVar("T")

_LANES = 2
_NO_MEMORY_ON_THE_HOST = "can't allocate memory"


class Engine:
    """Runs batches on a device. One thread at a time."""

    def __init__(self, device: torch.device, *, compiled: bool = False, deterministic: bool = False) -> None:
        """`compiled`: only a few sizes of batch are run, each compiled once. `deterministic`: one size only.

        A deterministic batch always is as large as the largest, filled up with black images: kernels sum in an order
        that depends on the batch's size, and so an image's last bits would depend on how many came with it.
        """
        self.device = device
        self._compiled = compiled
        self._deterministic = deterministic
        self._sizes: tuple[int, ...] = ()
        self._lanes = [_CudaLane(device) for _ in range(_LANES)] if device.type == "cuda" else []
        if deterministic:
            _be_deterministic()

    def prepare(self, max_size: int, score: Score, height: int, width: int) -> None:
        """Settle the sizes of batches and run each once, so that nothing is compiled under load. Raises Fatal."""
        if self._deterministic:
            self._sizes = (max_size,)
        elif self._compiled:
            self._sizes = buckets(max_size)
        try:
            for size in self._sizes:
                self.begin(np.zeros((size, height, width, 3), np.uint8), score)()
        except OutOfMemory as error:
            raise Fatal(f"the model does not fit the device with batch.max_size images: {error}; lower it") from error
        except Exception as error:
            if not self._compiled:
                raise
            raise Fatal(
                f"model.compile: the model cannot be compiled here ({type(error).__name__}: {first_line(error)});"
                " install a C++ compiler, or set it to false"
            ) from error

    def begin(self, batch: PixelBatch, score: Score) -> Callable[[], ScoreBatch]:
        """Start on a batch; what is returned waits for its scores. See `WorksAhead.begin`."""
        padded = self._padded(batch)
        if not self._lanes:
            return partial(self._guarded, len(batch), lambda: _on_the_host(padded, score)[: len(batch)])
        lane = self._lanes[0]
        self._lanes.reverse()
        ended = self._guarded(len(batch), lambda: lane.begin(padded, score))
        return partial(self._guarded, len(batch), lambda: ended()[: len(batch)])

    def _padded(self, batch: PixelBatch) -> PixelBatch:
        size = bucket_of(len(batch), self._sizes)
        if size == len(batch):
            return batch
        whole = np.zeros((size, *batch.shape[1:]), np.uint8)
        whole[: len(batch)] = batch
        return whole

    def _guarded(self, count: int, work: Callable[[], T]) -> T:
        """The result of work on `count` images. Raises OutOfMemory, Fatal where the device is lost."""
        try:
            return work()
        except torch.OutOfMemoryError as error:
            reason = first_line(error)
        except RuntimeError as error:
            if self.device.type != "cpu":
                raise Fatal(
                    f"the device {self.device} failed, and the worker has to be started anew: {first_line(error)}"
                ) from error
            if _NO_MEMORY_ON_THE_HOST not in str(error):
                raise
            reason = first_line(error)
        # The traceback held the batch's tensors until here: only now can their memory be given back.
        torch.cuda.empty_cache()
        raise OutOfMemory(f"{count} images did not fit the device: {reason}")


@torch.inference_mode()
def _on_the_host(batch: PixelBatch, score: Score) -> ScoreBatch:
    scores: ScoreBatch = score(torch.from_numpy(batch)).numpy()
    return scores


class _CudaLane:
    """One batch's way to a CUDA device and back, through pinned memory, beside another batch's computation."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pinned = torch.empty(0, dtype=torch.uint8, pin_memory=True)
        self._ended = torch.cuda.Event()  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def begin(self, batch: PixelBatch, score: Score) -> Callable[[], ScoreBatch]:
        # What this lane carried before has to be off the pinned memory: nothing to wait for where it was asked for.
        self._ended.synchronize()
        if self._pinned.numel() < batch.size:
            self._pinned = torch.empty(batch.size, dtype=torch.uint8, pin_memory=True)
        pinned = self._pinned[: batch.size].view(batch.shape)
        pinned.numpy()[:] = batch
        computing = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._copying):
            pixels = pinned.to(self._device, non_blocking=True)
        computing.wait_stream(self._copying)
        pixels.record_stream(computing)
        scores = score(pixels)
        host = torch.empty(scores.shape, dtype=scores.dtype, pin_memory=True)
        host.copy_(scores, non_blocking=True)
        self._ended.record(computing)
        return lambda: self._end(host)

    def _end(self, host: torch.Tensor) -> ScoreBatch:
        self._ended.synchronize()
        scores: ScoreBatch = host.numpy().copy()
        return scores


def _be_deterministic() -> None:
    """The same kernels in the same order, each time. cuBLAS reads its variable when CUDA is first used."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
