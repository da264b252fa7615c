"""What a model's card says of its licence and of the model that it was made of. A stranger wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from worker.models.provenance.lock import UNKNOWN, Licence

_LARGEST = 1 << 20
"""Bytes of a card that is read: YAML is parsed slowly."""
_LONGEST = 200
_MOST = 10


def read(directory: Path) -> tuple[Licence, tuple[str, ...]]:
    """Licence and base models as the head of the directory's README.md states them; unknown where it states nothing."""
    stated = _stated(directory / "README.md")
    licence = Licence(
        id=_text(stated.get("license")) or UNKNOWN,
        name=_text(stated.get("license_name")),
        link=_text(stated.get("license_link")),
    )
    return licence, _texts(stated.get("base_model"))


def _stated(card: Path) -> dict[str, Any]:
    from huggingface_hub.repocard import metadata_load

    try:
        return (metadata_load(card) or {}) if card.stat().st_size <= _LARGEST else {}
    except Exception:  # noqa: BLE001  (no card, no text, no YAML, YAML that goes too deep: it states nothing)
        return {}


def _text(value: Any) -> str | None:
    """One short text. A card may state several licences, and then none of them alone is the model's."""
    return ", ".join(_texts(value)) or None


def _texts(value: Any) -> tuple[str, ...]:
    values = value[:_MOST] if isinstance(value, list) else [value]
    texts = (entry.strip()[:_LONGEST] for entry in values if isinstance(entry, str))
    return tuple(filter(None, texts))
