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
        description="Seconds without a sign of life of the event loop or the Kafka thread after which the worker logs "
        "its stack and leaves with an error. Above the longest pause that is normal: a settlement step of 1 s.",
    )
    stuck_batch_after_s: float = Field(
        300.0,
        gt=0,
        description="Seconds that the model may take for one batch, after which the worker does the same. Far above "
        "what the slowest batch takes, a first one that is compiled included.",
    )
