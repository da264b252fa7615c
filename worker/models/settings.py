"""The knobs of the model and of its batches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from worker.knobs import Section

DEMO = "demo"

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "bf16", "fp16", "int8"]


class ModelSettings(Section):
    """Which model, where it runs, and how exactly it counts."""

    source: str | None = Field(
        None,
        min_length=1,
        description="A local directory, `owner/name@revision` with the revision's 40 hex digits, an ONNX file"
        " (`NAME.onnx`; docs/models.md), or `demo`. A branch is refused: what it names tomorrow is not what was tested"
        " today. Unset, it is the source that `model.lock` names, and without a lock `demo`, which needs no hub:"
        " EfficientNet-Lite0 with the 1000 classes of ImageNet.",
    )
    lock: Path | None = Field(
        None,
        description="A lock file that `image-worker model lock` wrote. The worker then starts only when every file of"
        " the model, its labels, recipe and golden outputs are those of the lock. Unset, nothing is held against"
        " anything, and the log says so: a model is locked when it has been tried.",
    )
    licences: tuple[str, ...] = Field(
        ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "isc", "unlicense"),
        description="Licences, as model cards name them, with which a locked model runs without being asked for. The"
        " default has those that allow any use and ask for little more than a notice; case does not matter.",
    )
    licence_accepted: str | None = Field(
        None,
        min_length=1,
        description="`who, when, why`: the written acceptance of a locked model's licence that is unknown or not in"
        " `model.licences`. It is logged at each start and shown in `/status`. Unset, such a model does not start.",
    )
    device: Device = Field(
        "auto",
        description="`cpu`, `cuda`, or `auto`: CUDA where torch sees a device, else the CPU. The default makes one"
        " configuration fit pods of both kinds.",
    )
    runtime: str = Field(
        "torch",
        min_length=1,
        description="`torch`, `onnx` or `auto`. `onnx` runs the export that the lock names (`image-worker model"
        " export`) on ONNX Runtime. `auto` measures both for some seconds at start, on a CPU and where there is an"
        " export, and takes the faster; else torch. The default needs no export. An ONNX file in `model.source` always"
        " runs on ONNX Runtime. Any other name is that of an installed package's backend (docs/backends.md).",
    )
    precision: Precision = Field(
        "fp32",
        description="`fp32`, `bf16` or `fp16`, for weights and activations, or `int8` (the int8 export, on ONNX"
        " Runtime); scores are always float32. The default gives the reference implementation's scores within 1e-4; the"
        " others may be faster and differ more.",
    )
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Threads for one forward pass on a CPU. The default 0 takes the CPUs that the container may use,"
        " because more threads than those make the kernel throttle the whole process.",
    )
    labels: tuple[str, ...] = Field(
        (),
        description="The labels of a zero-shot model (CLIP, SigLIP), which has none of its own. Each is put into the"
        " prompts of `model.templates`. Only for such a model: the labels of any other are in its files.",
    )
    labels_file: Path | None = Field(
        None,
        description="Labels of a zero-shot model in a file instead, UTF-8, one a line. It is watched: what is written"
        " there takes effect between two batches, without a restart, and `labels_version` of each outcome says"
        " which set it had. A file that cannot be used is refused, said in the log, and the labels stay as they are.",
    )
    templates: tuple[str, ...] = Field(
        ("This is a photo of {}.",),
        min_length=1,
        description="Prompts that a zero-shot model's labels are put into, in the place of `{}`. With several, a label"
        " is the mean of its prompts. The default is that of transformers' zero-shot pipeline, so scores are the same.",
    )
    compile: bool = Field(
        False,
        description="Whether torch.compile makes kernels for this model. Batches then are filled up to powers of two,"
        " each of which is compiled before the worker is ready: a start takes a minute or more, and needs a C++"
        " compiler on a CPU. Off by default: it pays on a GPU, seldom on a CPU.",
    )
    deterministic: bool = Field(
        False,
        description="Whether the same image gives the same scores to the last bit on the same kind of machine,"
        " whichever images came with it: only deterministic kernels, and each batch filled up to batch.max_size."
        " Off by default, since a lone image then costs as much as a full batch. Without it scores differ by 1e-7.",
    )

    @model_validator(mode="after")
    def _labels_are_given_once(self) -> Self:
        if self.labels and self.labels_file is not None:
            raise ValueError("labels and labels_file are both set: write one of them")
        for template in self.templates:
            if "{}" not in template or template.count("{") + template.count("}") != 2:
                raise ValueError(f"the template {template!r} needs one {{}} for the label, and no other braces")
        return self


class BatchSettings(Section):
    """When a batch leaves for the model."""

    max_size: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = Field(
        32,
        description="Images in a batch at most. 32 keeps a GPU busy, and a batch of 224x224 pixels has 4.8 MB; on a CPU"
        " fewer may be much faster (the demo's model does twice as many images a second in batches of 4)."
        " `auto` measures at each start, for some ten seconds, and takes the"
        " smallest batch within 5 % of the best throughput; `image-worker model calibrate` does it at leisure.",
    )
    max_age_ms: float = Field(
        20.0,
        ge=0.0,
        le=60_000.0,
        description="Milliseconds that a batch waits for more images after its oldest one joined. It matters only"
        " while more images are on their way, and have been for no longer than this: an idle model with nothing to wait"
        " for starts at once. 20 ms is about the time of one small batch, so waiting at most doubles a latency.",
    )
    queue_depth: int = Field(
        1,
        ge=1,
        le=8,
        description="Batches that stand ready behind the one that is computed. One is enough for a model that never"
        " waits; more only add latency and memory.",
    )

    @property
    def size(self) -> int:
        """`max_size` as a number. `auto` has been settled by the time that anybody asks."""
        assert isinstance(self.max_size, int), "batch.max_size is `auto` still"
        return self.max_size
