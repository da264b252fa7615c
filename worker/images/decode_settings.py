"""The knobs of decoding: which formats, how much work an image may be, where it is done."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from worker.cpus import available_cpus
from worker.images.fetch_settings import MEBIBYTE
from worker.knobs import Section

Format = Literal["jpeg", "png", "webp", "gif", "avif", "bmp", "tiff"]


class DecodeSettings(Section):
    """How images are decoded."""

    formats: tuple[Format, ...] = Field(
        ("jpeg", "png", "webp", "gif", "avif"),
        min_length=1,
        description="Formats that are decoded, told by content. BMP and TIFF by choice: their decoders see less use.",
    )
    max_pixels: int = Field(
        50_000_000, gt=0, description="Pixels an image may have; 50 million is above nearly every camera's."
    )
    frames: int = Field(
        1, ge=1, le=64, description="Frames of an animation that are classified, evenly spread; the gravest decides."
    )
    draft: bool = Field(
        True,
        description="Spend less on pixels that are thrown away: the JPEG decoder scales down to no less than 3 times "
        "the size wanted, and columns that will be cropped are not resized. A fifth less CPU for a usual photograph, "
        "half for a large one; no top-1 changed in 250 photographs. false: exactly the reference's pixels.",
    )
    decoders: Literal["processes", "threads"] = Field(
        "processes",
        description="Where images are decoded. threads: only for images that you trust. Nothing stands between a "
        "decoder's bug and the worker, a crash ends it, and a decoding that takes too long goes on in its thread.",
    )
    decode_processes: int | None = Field(
        None, ge=1, le=256, description="Processes (or threads) that decode. Unset: the CPUs this container may use."
    )
    decode_timeout_s: float = Field(
        10.0,
        gt=0,
        description="Seconds for one decoding, then its process is killed (a thread's goes on, unseen). "
        "50 million pixels take 2.",
    )
    decode_memory_bytes: int = Field(
        1024 * MEBIBYTE,
        ge=256 * MEBIBYTE,
        description="Bytes of address space (RLIMIT_AS) of a decode process. 50 million with alpha need 600 MiB.",
    )
    slots_per_process: int = Field(
        2, ge=1, le=16, description="Images handed to a decode process at once: the one it works on, and the next."
    )

    @property
    def processes(self) -> int:
        """The number of decode processes, resolved."""
        return self.decode_processes or available_cpus()
