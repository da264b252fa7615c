"""Which format the bytes are of, told by content alone, and which formats are opened."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from PIL import AvifImagePlugin, Image, ImageFile, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from worker.errors import Reason, Rejected
from worker.images.containers import brands

HEIC = "heic"
_PLUGINS = {HEIC: "HEIF"}
"""Pillow's names of formats, where they are others than ours in capitals."""
_NAMES = {plugin: name for name, plugin in _PLUGINS.items()}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}


def register(formats: tuple[str, ...]) -> None:
    """Load every plugin of Pillow's, with one thread an image, and pillow-heif where it is asked for."""
    Image.init()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    if HEIC in formats:
        from pillow_heif import register_heif_opener

        register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)


def open_image(data: bytes, formats: tuple[str, ...]) -> ImageFile.ImageFile:
    """The image, its head read, its pixels not. Raises Rejected, or whatever the format's plugin raises."""
    allowed = [plugin_of(name) for name in formats]
    try:
        return Image.open(BytesIO(data), formats=allowed)
    except UnidentifiedImageError:
        raise _unidentified(data, allowed) from None


def plugin_of(name: str) -> str:
    """Pillow's name of a format of the settings."""
    return _PLUGINS.get(name, name.upper())


def name_of(image: Image.Image) -> str:
    """The format's name, as in the settings.

    A JPEG with a second picture in it (MPO, from phones and stereo cameras) is a JPEG to all who look at it.
    """
    plugin = image.format or "unknown"
    return "jpeg" if isinstance(image, JpegImageFile) else _NAMES.get(plugin, plugin.lower())


def is_heic(data: bytes) -> bool:
    """Whether these are the bytes of a HEIC image; asked where pillow-heif may not be installed."""
    found = brands(data)
    return bool(found & _HEIC_BRANDS) and not found & _AVIF_BRANDS


def _unidentified(data: bytes, allowed: list[str]) -> Rejected:
    """Why no allowed format fits: the head of one is damaged, it is another format, or it is no image."""
    if is_heic(data) and _PLUGINS[HEIC] not in allowed:
        return _unsupported(HEIC)
    for plugin in allowed:
        if _begins(data, plugin):
            return Rejected(Reason.BROKEN_IMAGE, f"the header of the {_NAMES.get(plugin, plugin.lower())} is damaged")
    for plugin in Image.ID:
        if _begins(data, plugin):
            return _unsupported(_NAMES.get(plugin, plugin.lower()))
    return Rejected(Reason.NOT_AN_IMAGE, f"no image format is recognised in {len(data)} bytes")


def _begins(data: bytes, plugin: str) -> bool:
    """Whether the first bytes are those of the format. No more is asked of a plugin that is not allowed."""
    accept: Any = Image.OPEN[plugin][1]
    return accept is not None and accept(data[:16].ljust(16, b"\0")) is True


def _unsupported(name: str) -> Rejected:
    return Rejected(Reason.UNSUPPORTED_FORMAT, f"{name} is not in images.formats")
