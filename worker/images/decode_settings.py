"""The knobs of decoding: which formats, how much work an image may be, what of it is seen, where it is done."""

from __future__ import annotations

from dataclasses import fields
from importlib.util import find_spec
from typing import Literal

from pydantic import Field, field_validator

from worker.cpus import available_cpus
from worker.images.fetch_settings import MEBIBYTE
from worker.images.limits import DecodeLimits
from worker.knobs import Section

_WHITE = "white"

Format = Literal["jpeg", "png", "webp", "gif", "avif", "bmp", "tiff", "heic"]


class DecodeSettings(Section):
    """How images are decoded."""

    formats: tuple[Format, ...] = Field(
        ("jpeg", "png", "webp", "gif", "avif"),
        min_length=1,
        description="Formats that are decoded, told by content. BMP, TIFF and HEIC by choice: their decoders see less "
        "use. HEIC needs the extra `heic`.",
    )
    max_pixels: int = Field(
        50_000_000, gt=0, description="Pixels an image may have; 50 million is above nearly every camera's."
    )
    max_edge_pixels: int = Field(
        32_768,
        gt=0,
        description="Pixels an image may be wide or high: above any screenshot or scan. Rows that decoders hold grow "
        "with it.",
    )
    max_aspect_ratio: float = Field(
        100.0,
        ge=1,
        description="Times an image may be longer than broad. A model sees nothing of a sliver, and a resize by the "
        "shorter edge would make it enormous.",
    )
    max_frames: int = Field(
        256,
        gt=0,
        description="Frames an animation, or pages a TIFF, may have; counted, not decoded. 256 is 10 s at 25 a second.",
    )
    max_scan_pixels: int = Field(
        1_000_000_000,
        gt=0,
        description="Pixels a decoder may go over for one image: width x height x scans of a JPEG, x frames up to the "
        "last one sampled of an animation. A progressive photograph has some 10 scans: 500 million at 50 megapixels.",
    )
    frames: int = Field(
        1,
        ge=1,
        le=64,
        description="Frames of an animation that are classified, spread evenly from its first to its last. 1 is the "
        "first alone, as thumbnails have it.",
    )
    truncated_rows_missing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of rows that may be missing from an image that ends early; they are black. Only baseline "
        "JPEG and PNG without interlacing tell how many came. 0: an image that ends early is refused.",
    )
    background: str = Field(
        "white",
        description="Colour behind what is transparent: a name or #rrggbb. Most pages have white behind an image.",
    )
    colour_profiles: bool = Field(
        True,
        description="Convert colours to sRGB where an image has another ICC profile, as viewers do and training sets "
        "were seen. false: the numbers in the file, as the reference takes them.",
    )
    draft: Literal[0, 2, 3] = Field(
        3,
        description="A JPEG decoder scales down to no less than this many times the size wanted: a quarter of the CPU "
        "for 12 megapixels, and no top-1 changed in 250 photographs. 2 is faster and less exact; 0: off.",
    )
    skip_cropped: bool = Field(
        True,
        description="Columns that will be cropped away are not resized: a fifth less CPU for a usual photograph; some "
        "pixels in a thousand differ by one level.",
    )
    simd_resize: bool = Field(
        True,
        description="Resize with SIMD, where the library exists for this machine: a third less CPU for a usual "
        "photograph; some 4 pixels in a thousand differ by one or two levels. With draft 0, and skip_cropped, "
        "colour_profiles and this false: exactly the reference's pixels.",
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
        description="Seconds of CPU for one decoding, then its process is killed (a thread's goes on, unseen). "
        "50 million pixels take 2. On a busy machine an image may take four times as long by the clock.",
    )
    decode_memory_bytes: int = Field(
        1024 * MEBIBYTE,
        ge=256 * MEBIBYTE,
        description="Bytes of address space (RLIMIT_AS) of a decode process. 50 million with alpha need 600 MiB.",
    )
    seen_results: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Results kept, by the sha256 of the image's bytes, for when the same bytes come again. 0: none, "
        "since each image then costs a digest on the event loop; worth it where images repeat.",
    )
    slots_per_process: int = Field(
        2, ge=1, le=16, description="Images handed to a decode process at once: the one it works on, and the next."
    )

    @property
    def processes(self) -> int:
        """The number of decode processes, resolved."""
        return self.decode_processes or available_cpus()

    @property
    def limits(self) -> DecodeLimits:
        """What of these a decode process has to know."""
        return DecodeLimits(**{field.name: getattr(self, field.name) for field in fields(DecodeLimits)})

    @field_validator("formats")
    @classmethod
    def _has_decoders(cls, formats: tuple[Format, ...]) -> tuple[Format, ...]:
        if "heic" in formats and find_spec("pillow_heif") is None:
            raise ValueError("heic needs a decoder that is not installed: pip install 'image-worker[heic]'")
        return formats

    @field_validator("draft", mode="before")
    @classmethod
    def _from_an_environment(cls, ratio: object) -> object:
        return int(ratio) if isinstance(ratio, str) and ratio.isdigit() else ratio

    @field_validator("background")
    @classmethod
    def _is_an_opaque_colour(cls, colour: str) -> str:
        if colour == _WHITE:
            return colour
        from PIL import ImageColor  # what only asks for the settings does without Pillow

        if len(ImageColor.getrgb(colour)) != 3:
            raise ValueError(f"{colour!r} is transparent itself: leave its alpha out")
        return colour
