"""What top-1 must be for a trial to pass."""

from __future__ import annotations

from dataclasses import dataclass

from worker.errors import ConfigurationError, Fatal
from worker.trial.report import Report

_ROUNDING = 1e-9
"""0.90 is within 0.02 of 0.88, though not in binary fractions."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """Top-1 over all rows. Rejected images are taken as wrong: no gate opens for what nobody classified."""

    top1: float
    within: float

    def check(self, report: Report) -> None:
        """Raises Fatal where the report is off."""
        measured = report.top1_of_all.value or 0.0
        if abs(measured - self.top1) > self.within + _ROUNDING:
            rejected = f" ({len(report.rejected)} rejected images among them)" if report.rejected else ""
            raise Fatal(
                f"top-1 is {measured:.4f} of {report.images} images{rejected}, which is not within {self.within:g} of"
                f" the {self.top1:g} expected: off by {measured - self.top1:+.4f}"
            )


def expectation(top1: float | None, within: float | None) -> Expectation | None:
    """Of the two options. Raises ConfigurationError where one is given and the other is not."""
    if (top1 is None) != (within is None):
        raise ConfigurationError("--expect-top1 and --within need each other: write --expect-top1 0.88 --within 0.02")
    return None if top1 is None or within is None else Expectation(top1, within)
