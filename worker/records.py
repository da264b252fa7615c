"""The frozen values that travel from room to room. They hold data; the rooms hold the behaviour."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Headers = tuple[tuple[str, bytes | None], ...]
"""A record's headers in their order; names may repeat."""


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where a record stands in Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One record of the input topic, untouched."""

    coordinates: Coordinates
    timestamp_ms: int
    """Milliseconds since the epoch, -1 where the record has none."""
    key: bytes | None
    value: bytes | None
    """None for a tombstone."""
    headers: Headers


@dataclass(frozen=True, slots=True)
class ImageReference:
    """What an event asks for: the address of an image, or the image itself. Exactly one of the two is set."""

    address: str | None = None
    image: bytes | None = None
    id: str | None = None
    sha256: str | None = None
    """The digest the event states for the image's bytes: 64 lower-case hex digits."""


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """The bytes of an image file, as they came."""

    data: bytes
    expected_sha256: str | None = None
    share: object = None
    """Holds the bytes' share of the worker's memory for as long as anybody refers to it."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """A decoded image at the model's input size, and what the file was."""

    array: npt.NDArray[np.uint8]
    """(N, H, W, 3) uint8, RGB, C-contiguous: the sampled frames; H and W are those of the model's input recipe."""
    width: int
    """Of the file's image, in pixels, after its orientation was applied."""
    height: int
    format: str
    """In lower case, by content: jpeg, png, webp, gif, avif, ..."""
    sha256: str
    """Of the file's bytes: 64 lower-case hex digits."""
    frames: tuple[int, ...] = (0,)
    """Which frames of the file the N are, from 0."""
    frame_count: int = 1
    """Frames in the file; 1 for a still image."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What is needed to compare two results honestly."""

    name: str
    revision: str
    fingerprint: str
    """64 hex digits over weights, configuration, input recipe, runtime, precision, and a label set that can change."""
    runtime: str
    precision: str
    labels_version: str = ""
    """12 hex digits over a label set that can change (zero-shot); empty where the labels are the model's own."""


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What scores stand for: the labels in their order, and the identity of what gave them."""

    identity: ModelIdentity
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prediction:
    """The model's answer for one image, and how its batch went."""

    scores: npt.NDArray[np.float32]
    """(L,) float32, one for each label of `head`, in their order."""
    head: Head
    """Of the batch: a zero-shot model's labels may change between two batches."""
    batch_size: int
    flush_reason: str
    """Why the batch left: size, age, idle, drain."""
    wait_s: float
    """From joining the batch to the model's start."""
    compute_s: float
    """The model's time for the whole batch."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy makes of the scores."""

    label: str
    score: float
    action: str
    frame: int = 0
    """Index in the file of the frame that decided."""


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """One record to publish. `timestamp_ms` None lets the producer set the time of publication."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The one end of an event: what is published for it, and what the metrics and logs say of it."""

    kind: str
    """classification, unscannable, dead_letter or tombstone."""
    record: OutgoingRecord
    reason: str | None = None
    """Of a dead letter, and of an image that is unscannable, the reason's code."""
    detail: str | None = None
    """With a reason, one line for the operator."""
    action: str | None = None
    """Of what the policy decided, its action."""


def outcome_id(coordinates: Coordinates, fingerprint: str) -> str:
    """The identity of an outcome: the same for every repeat of the same source record with the same model.

    32 hex digits: the first half of a sha256 over topic, partition, offset and the model's fingerprint.
    """
    name = f"{coordinates.topic}/{coordinates.partition}/{coordinates.offset}/{fingerprint}"
    return hashlib.sha256(name.encode()).hexdigest()[:32]
