"""The report as one self-contained HTML page, without scripts. All text is escaped; pictures are data: addresses."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from worker.kafka.classification import shown
from worker.printable import printable
from worker.trial.bootstrap import LEVEL, ROUNDS
from worker.trial.comparison import Result
from worker.trial.figures import Figures
from worker.trial.labels import ENOUGH, LabelFigures
from worker.trial.report import Report
from worker.trial.review import cheapest
from worker.trial.thresholds import RULE, THRESHOLDS
from worker.trial.words import interval, number, share, verdict

_TOPS = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
_ERRORS = (0.1, 0.05, 0.02, 0.01)
_NAME_SIGNS = 120


def page(report: Report, thumbnails: Mapping[int, bytes]) -> str:
    """The page's text. `thumbnails`: by the index of a wrong result, a JPEG, in the order to show them."""
    environment = Environment(
        loader=PackageLoader("worker.trial"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_on_one_line,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": share, "number": number, "interval": interval, "name": _name, "points": _points}
    figures = report.figures
    return environment.get_template("page.html").render(
        report=report,
        figures=figures,
        wrong=list(_wrong(report.results, thumbnails)),
        labels=sorted(figures.labels, key=_worst_first),
        review_top=_top([point.error for point in figures.review]),
        reviews=[point for error in _ERRORS if (point := cheapest(figures.review, error)) is not None],
        curves=[curve for curve in figures.thresholds if curve.taken],
        too_few=sum(1 for curve in figures.thresholds if not curve.taken),
        verdict=verdict(report.comparison) if report.comparison is not None else None,
        rule=RULE,
        thresholds=THRESHOLDS.tolist(),
        enough=ENOUGH,
        rounds=ROUNDS,
        level=LEVEL,
        wrongs=_wrongs(figures),
    )


def _on_one_line(value: Any) -> Any:
    """Marks that turn the direction of text, and the like, are written out."""
    return printable(value) if type(value) is str else value


def _name(source: str) -> str:
    """An image's path or address, the end of it where it is long."""
    text = shown(source) or ""
    return text if len(text) <= _NAME_SIGNS else f"...{text[-_NAME_SIGNS:]}"


def _wrong(results: Sequence[Result], thumbnails: Mapping[int, bytes]) -> Iterator[tuple[Result, str]]:
    for index, jpeg in thumbnails.items():
        yield results[index], base64.b64encode(jpeg).decode()


def _wrongs(figures: Figures) -> int:
    return figures.images - sum(label.hits for label in figures.labels)


def _worst_first(label: LabelFigures) -> tuple[bool, float, int, str]:
    """Labels that no image has, but some were taken for, come last."""
    return not label.images, label.f1, -label.images, label.label


def _top(values: Sequence[float | None]) -> float:
    """The least of some round shares that is not below any of these."""
    highest = max((value for value in values if value is not None), default=1.0)
    return next((top for top in _TOPS if top >= highest), 1.0)


def _points(values: Sequence[float | None], width: float, height: float, top: float = 1.0) -> str:
    """The points of an SVG line through values from left to right, without those that are None; y grows downwards."""
    step = width / max(1, len(values) - 1)
    found = [(step * place, height * (1 - value / top)) for place, value in enumerate(values) if value is not None]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in found)
