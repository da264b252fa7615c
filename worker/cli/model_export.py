"""`image-worker model export`: a locked model as an ONNX file beside its lock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.common import progress_bar, quiet_logs, settings_of
from worker.cli.model import group
from worker.errors import ConfigurationError
from worker.printable import printable

if TYPE_CHECKING:
    from worker.models.provenance.lock import Export
    from worker.trial.columns import Columns
    from worker.trial.rows import Manifest


@group.command()
def export(
    context: typer.Context,
    lock: Annotated[
        Path | None, typer.Option("--lock", dir_okay=False, help="The model's lock; else the one of `model.lock`.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Quantise it too, and say what that loses.")] = False,
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="MANIFEST", help="With --int8: measure that on images with labels, too."),
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="Its column of a path or URL, where the name is odd.")
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="Its column of labels, where the name is odd.")] = None,
) -> None:
    """Write a locked model as an ONNX file that any program can run: pixels in, scores out, any size of batch.

    It is tried against torch, and its hash goes into the lock: `model.runtime` = `onnx` or `auto` then runs it.
    """
    settings = settings_of(context)
    quiet_logs(settings.observe)
    path = lock or settings.model.lock
    if path is None:
        raise ConfigurationError("no lock whose model to export: give --lock FILE, or set model.lock")
    path = path.expanduser()
    from worker.models import export as made
    from worker.models.provenance.lock import read, write
    from worker.trial.columns import Columns
    from worker.trial.quantised import loss

    manifest = _manifest(images, Columns(image_column, label_column), int8)
    with progress_bar() as progress:
        task = progress.add_task("exporting and trying fp32", total=1 + int8)
        locked = read(path)
        locked = made.with_export(locked, made.export(settings.model, locked, path))
        write(locked, path)
        if int8:
            progress.update(task, advance=1, description="quantising and trying int8")
            locked = made.with_export(locked, made.quantise(settings.model, locked, path))
            write(locked, path)
        if manifest is not None:
            found = loss(settings, path, manifest, progress)
            locked = made.with_facts(locked, "int8", found)
            write(locked, path)
    _show(locked.exports, path)
    for reason in made.refusals(settings.model, locked, path) if int8 else ():
        typer.echo(f"note: a worker with this lock will refuse the int8 export: {printable(reason)}")


def _manifest(images: Path | None, columns: Columns, int8: bool) -> Manifest | None:
    if images is None:
        return None
    if not int8:
        raise ConfigurationError("--images measures what --int8 loses: give both, or see `image-worker evaluate`")
    from worker.trial.manifest import read

    return read(images, columns)


def _show(exports: tuple[Export, ...], lock: Path) -> None:
    for export in exports:
        typer.echo(f"{lock.parent / export.file}: {export.precision}, {export.size / 1e6:.1f} MB, {export.sha256[:12]}")
        for name, value in export.facts.items():
            typer.echo(f"  {name.replace('_', ' '):<34} {value:g}")
