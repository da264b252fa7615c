"""What stands behind "encoded bytes to pixels": processes for images of strangers, or threads for trusted ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from worker.errors import ConfigurationError
from worker.recipe import InputRecipe
from worker.records import EncodedImage, Pixels


@dataclass(frozen=True, slots=True)
class Confinement:
    """What hostile bytes that took a decoder over could reach from there."""

    decoders: str
    """processes or threads."""
    count: int
    memory_bytes: int | None
    """Limit of each; None where there is none."""
    open_because: str
    """Why network, files and programs are not shut off; empty where they are."""

    @property
    def shut(self) -> bool:
        """Whether network, files, other programs and other processes are out of reach."""
        return not self.open_because

    def facts(self) -> dict[str, Any]:
        """For logs and /status."""
        reachable = dict.fromkeys(("network", "files", "programs"), not self.shut)
        memory_mib = None if self.memory_bytes is None else self.memory_bytes // 2**20
        because = self.open_because or None
        return {
            "decoders": self.decoders,
            "count": self.count,
            **reachable,
            "open_because": because,
            "memory_mib": memory_mib,
        }


class Decoder(Protocol):
    """`DecodePool` and `ThreadDecoder`. Owned by the event loop."""

    async def start(self) -> None:
        """Get ready. Raises Fatal where that fails."""

    async def close(self) -> None:
        """End. Images still on their way are rejected with Fatal."""

    async def decode(self, encoded: EncodedImage) -> Pixels:
        """The image's sampled frames at the model's input size.

        Waits for its turn. Raises Rejected (a reason of the decode stage, DIGEST_MISMATCH or TOO_LARGE), or Fatal.
        """

    def memory_bytes(self) -> int:
        """What decoding can take at most, as the settings have it."""

    def confinement(self) -> Confinement:
        """What a decoder that was taken over could reach. After `start`."""


def check_recipe(recipe: InputRecipe) -> None:
    """Raises ConfigurationError for a recipe whose steps do not end in the model's input size."""
    exact = (recipe.resize_height, recipe.resize_width) == (recipe.height, recipe.width)
    if not recipe.crop and not exact:
        raise ConfigurationError(
            "the model's image processor neither crops nor resizes to one size: its images would not fit one batch"
        )
