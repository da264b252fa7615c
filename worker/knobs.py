"""The base of every section of the settings. A wing declares its own knobs in its own settings.py on top of this.

Each field has a default and a description that states its unit and why the default is what it is; names end in their
unit (`_s`, `_ms`, `_bytes`, `_pixels`). `docs/settings.md` is made from these fields and checked against them.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
