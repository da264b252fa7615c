"""Which runtime runs a model: torch, ONNX Runtime on the export that the lock names, or the faster of the two."""

from __future__ import annotations

import structlog

from worker.errors import ConfigurationError
from worker.models import exports, fastest
from worker.models.backends import label_set
from worker.models.backends.onnx_file import require_extra
from worker.models.classifier import Classifier
from worker.models.provenance import whole
from worker.models.provenance.files import ModelFiles
from worker.models.provenance.lock import Lock
from worker.models.settings import ModelSettings

log = structlog.get_logger(__name__)


def opened(settings: ModelSettings, files: ModelFiles, lock: Lock | None) -> Classifier:
    """The model in these files, or in its export that the lock names, as `model.runtime` says.

    Raises ConfigurationError and Fatal as `worker.models.load.load_known` does.
    """
    if files.onnx is not None:
        return _onnx(settings, files)
    if settings.precision == "int8" and settings.runtime != "onnx":
        raise ConfigurationError(
            'model.precision is `int8`, which only ONNX Runtime has here: write model.runtime = "onnx"'
        )
    whole.check(files)
    if whole.is_zero_shot(files):
        return _zero_shot(settings, files)
    label_set.require_none(settings, files.name)
    if settings.runtime == "onnx":
        return _onnx(settings, _export(settings, lock))
    if settings.runtime == "auto" and (export := _candidate(settings, lock)) is not None:
        return fastest.of(
            {"torch": lambda: _torch(settings, files), "onnx": lambda: _onnx(settings, export)}, log=log.info
        )
    return _torch(settings, files)


def _zero_shot(settings: ModelSettings, files: ModelFiles) -> Classifier:
    if settings.runtime == "onnx":
        raise ConfigurationError(
            f"model {files.name} is zero-shot, and its labels come from the settings: no export can have them; leave"
            " model.runtime out"
        )
    from worker.models.backends.zero_shot import load

    return load(settings, files)


def _torch(settings: ModelSettings, files: ModelFiles) -> Classifier:
    from worker.models.backends.torch import load

    return load(settings, files)


def _onnx(settings: ModelSettings, files: ModelFiles) -> Classifier:
    _require_nothing_of_torch(settings)
    from worker.models.backends.onnx import load

    return load(settings, files)


def _require_nothing_of_torch(settings: ModelSettings) -> None:
    for name in ("compile", "deterministic"):
        if getattr(settings, name):
            raise ConfigurationError(f"model.{name} is for torch, and ONNX Runtime has no such thing: leave it out")


def _export(settings: ModelSettings, lock: Lock | None) -> ModelFiles:
    """The export that is to run. Only a lock says that a file is this model and nothing else."""
    if lock is None or settings.lock is None:
        raise ConfigurationError(
            "ONNX Runtime runs the export that a lock names, and model.lock is unset: run `image-worker model lock` and"
            " `image-worker model export`, or name an ONNX file in model.source"
        )
    return exports.locked(lock, settings.lock.expanduser(), settings.precision)


def _candidate(settings: ModelSettings, lock: Lock | None) -> ModelFiles | None:
    """The export that may be faster than torch; None where there is none to be tried, and the log says why."""
    if _has_cuda(settings):
        log.info("model.runtime", runtime="torch", reason="the device is CUDA, where torch is taken unmeasured")
        return None
    try:
        require_extra("ONNX Runtime", "onnx", "onnxruntime")
        _require_nothing_of_torch(settings)
        return _export(settings, lock)
    except ConfigurationError as error:
        log.info("model.runtime", runtime="torch", reason=str(error))
        return None


def _has_cuda(settings: ModelSettings) -> bool:
    import torch

    return settings.device != "cpu" and torch.cuda.is_available()
