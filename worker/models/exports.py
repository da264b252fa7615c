"""The ONNX files that a lock knows to be made of its model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from worker.errors import ConfigurationError, Fatal
from worker.models.provenance.files import ModelFiles, of_export
from worker.models.provenance.lock import Export, Lock
from worker.models.provenance.verify import Finding
from worker.printable import printable

SUFFIXES = {"fp32": ".onnx", "int8": ".int8.onnx"}


def locked(lock: Lock, lock_file: Path, precision: str) -> ModelFiles:
    """The export of a precision: the file that the lock names, found to have the bytes that it names.

    Raises ConfigurationError where the lock has no such export, Fatal where the file is missing or another.
    """
    if precision not in SUFFIXES:
        raise ConfigurationError(
            f"model.precision is `{precision}`, and exports are in {' or '.join(SUFFIXES)}: choose one of those, or"
            " model.runtime = `torch`"
        )
    for export in lock.exports:
        if export.precision == precision:
            return _same(lock, lock_file, export)
    option = " --int8" if precision == "int8" else ""
    raise ConfigurationError(
        f"the lock {lock_file} has no export in {precision}: run `image-worker model export --lock {lock_file}{option}`"
    )


def findings(lock: Lock, lock_file: Path) -> Iterator[Finding]:
    """Every export by its bytes."""
    for export in lock.exports:
        try:
            _same(lock, lock_file, export)
        except Fatal as error:
            yield Finding(printable(export.file), str(error), ok=False)
        else:
            yield Finding(printable(export.file), f"{export.size} bytes, sha256 {export.sha256[:12]}")


def _same(lock: Lock, lock_file: Path, export: Export) -> ModelFiles:
    path = lock_file.parent / export.file
    if not path.is_file():
        raise Fatal(f"the export {path} of the lock {lock_file} is missing: put it back, or export the model anew")
    files = of_export(path, lock.name, lock.revision)
    if (found := files.files[0]).sha256 != export.sha256:
        raise Fatal(
            f"the export {path} is not the one that {lock_file} locks: sha256 {export.sha256} in the lock,"
            f" {found.sha256} here: put it back, or export the model anew"
        )
    return files


def path_beside(lock_file: Path, precision: str) -> Path:
    """Where the export of a lock's model goes."""
    stem = lock_file.name.removesuffix(".toml").removesuffix(".lock")
    return lock_file.with_name(stem + SUFFIXES[precision])
