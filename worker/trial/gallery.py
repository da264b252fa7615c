"""The wrong answers that are shown: what the model saw, of those it was surest of."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

MOST = 60
EDGE = 160
"""Pixels."""
_QUALITY = 80


class Gallery:
    """Keeps a thumbnail of the surest wrong answers: no more than `MOST`, of some kilobytes each.

    They are made of the pixels that the decoder gave, so no bytes of a stranger's are decoded here, and they show the
    part of the picture that the model was shown.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[float, int, bytes]] = []

    def offer(self, confidence: float, row: int, pixels: npt.NDArray[np.uint8]) -> None:
        """A wrong answer, with its (H, W, 3) uint8 pixels."""
        if len(self._kept) < MOST:
            heapq.heappush(self._kept, (confidence, -row, _thumbnail(pixels)))
        elif (confidence, -row) > self._kept[0][:2]:
            heapq.heapreplace(self._kept, (confidence, -row, _thumbnail(pixels)))

    def surest_first(self) -> Mapping[int, bytes]:
        """By the row's index, a JPEG."""
        return {-row: jpeg for _, row, jpeg in sorted(self._kept, reverse=True)}


def _thumbnail(pixels: npt.NDArray[np.uint8]) -> bytes:
    image, buffer = Image.fromarray(pixels), BytesIO()
    image.thumbnail((EDGE, EDGE))
    image.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
