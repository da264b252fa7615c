"""The knobs of the images' wing."""

from __future__ import annotations

from worker.images.decode_settings import DecodeSettings
from worker.images.fetch_settings import FetchSettings


class ImagesSettings(DecodeSettings, FetchSettings):
    """How images are fetched and decoded."""
