"""Real photographs: those that scikit-image's wheel carries, each in every format that the worker decodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from PIL import Image

from worker.errors import ConfigurationError

PACKAGE = "skimage"
FORMATS = ("jpeg", "png", "webp", "avif", "gif")
_TITLES = {
    "astronaut.png": "Eileen Collins, astronaut",
    "camera.png": "A cameraman",
    "chelsea.png": "Chelsea, a cat",
    "coffee.png": "A cup of coffee",
    "rocket.jpg": "A rocket at its launch",
    "motorcycle_left.png": "A motorcycle in a garage",
    "clock_motion.png": "A clock, moving",
    "coins.png": "Coins from Pompeii",
    "moon.png": "The surface of the moon",
    "hubble_deep_field.jpg": "Hubble's deep field",
    "page.png": "A printed page",
    "brick.png": "A brick wall",
}
_LONGEST_EDGE = 640
_THUMBNAIL = (320, 240)


@dataclass(frozen=True, slots=True)
class Photograph:
    """One photograph, encoded in several formats."""

    name: str
    title: str
    encoded: Mapping[str, bytes]
    """The file's bytes by format."""
    thumbnail: bytes
    """A small JPEG."""


def files() -> list[Path]:
    """The photographs' files. Raises ConfigurationError where the demo's extra is missing."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError("the demo's photographs are not installed: run `pip install 'image-worker[demo]'`")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    return [folder / name for name in _TITLES if (folder / name).is_file()]


def photographs(paths: Iterable[Path]) -> list[Photograph]:
    """The photographs in files; encoding takes a second or two."""
    return [_photograph(path, _TITLES[path.name]) for path in paths]


def encode(image: Image.Image, file_format: str) -> bytes:
    """An image as a file's bytes."""
    stream = BytesIO()
    image.save(stream, file_format)
    return stream.getvalue()


def _photograph(path: Path, title: str) -> Photograph:
    with Image.open(path) as file:
        image = file.convert("RGB")
    image.thumbnail((_LONGEST_EDGE, _LONGEST_EDGE))
    small = image.copy()
    small.thumbnail(_THUMBNAIL)
    encoded = {file_format: encode(image, file_format) for file_format in FORMATS}
    return Photograph(path.stem.partition("_")[0], title, encoded, encode(small, "jpeg"))
