"""The knobs of watching the worker."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from worker.knobs import Section


class ObserveSettings(Section):
    """Logs, metrics and health pages."""

    host: str = Field(
        "0.0.0.0",
        description="Address on which /metrics, /livez, /readyz and /status are served.",
    )
    port: int = Field(9108, ge=0, le=65535, description="Their port; 0 takes a free one and logs it.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="`auto` is console on a terminal, else JSON, a line an event."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least level that is logged."
    )
    stuck_after_s: float = Field(
        30.0,
        gt=0,
        description="Seconds without progress of a loop after which /livez says that it stands still. Above "
        "the longest pause that is normal: a settlement step of 1 s, a rebalance.",
    )
