"""The report for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from worker.printable import printable
from worker.trial.bootstrap import Estimate
from worker.trial.comparison import Comparison
from worker.trial.report import Report
from worker.trial.review import Review, cheapest
from worker.trial.words import interval, number, share, verdict
from worker.watch import bar

_ROWS = 10
_ERRORS = (0.05, 0.01)


def tables(report: Report) -> RenderableType:
    """All that fits a terminal: the figures, a comparison, the gravest confusions, suggestions, rejections."""
    parts = [part for part in _parts(report) if part is not None]
    return Group(*(piece for part in parts for piece in (part, "")))


def _parts(report: Report) -> Iterator[RenderableType | None]:
    yield _summary(report)
    yield _comparison(report.comparison) if report.comparison is not None else None
    yield _confusions(report) if report.figures.confusions else None
    yield _thresholds(report)
    yield _rejections(report) if report.rejected else None


def _summary(report: Report) -> Table:
    figures, pace = report.figures, report.pace
    table = _table(f"{printable(report.model.name)} on {figures.images} images of {printable(report.manifest)}")
    for name in ("", "", "95 % interval"):
        table.add_column(name)
    _estimate(table, "top-1", figures.top1)
    if report.rejected:
        _estimate(table, "top-1, rejected as wrong", report.top1_of_all)
    if figures.top5.value is not None:
        _estimate(table, "top-5", figures.top5)
    _estimate(table, "mean recall of labels", figures.mean_recall)
    _estimate(table, "calibration error (ECE)", figures.ece)
    for error in _ERRORS:
        _review(table, f"review for {error:.0%} errors", cheapest(figures.review, error))
    times = f"an image: p50 {pace.p50_ms / 1000:.2f} s, p99 {pace.p99_ms / 1000:.2f} s, {pace.at_once} under way"
    table.add_row("images a second", f"{pace.images_per_s:.0f}", times)
    return table


def _estimate(table: Table, name: str, estimate: Estimate) -> None:
    table.add_row(name, Text(share(estimate.value), "bold"), interval(estimate))


def _review(table: Table, name: str, point: Review | None) -> None:
    if point is None:
        table.add_row(name, share(None), "no threshold on the confidence is enough")
    else:
        left = f"those under {point.threshold:.2f}; leaves {share(point.error)} of {point.left}"
        table.add_row(name, share(point.reviewed), left)


def _comparison(comparison: Comparison) -> RenderableType:
    table = _table(f"Against {printable(comparison.baseline.name)} of {printable(comparison.made_at)}")
    table.add_column("")
    table.add_column("images", justify="right")
    rows = (
        ("right with both", comparison.both_right),
        ("right before, wrong now", comparison.only_before),
        ("wrong before, right now", comparison.only_now),
        ("wrong with both", comparison.both_wrong),
    )
    for name, count in rows:
        table.add_row(name, str(count))
    return Group(table, Text(verdict(comparison)))


def _confusions(report: Report) -> Table:
    table = _table("Confusions, by their number and how sure the model was")
    for name in ("label", "taken for"):
        table.add_column(name, ratio=1, overflow="fold")
    table.add_column("images", justify="right", no_wrap=True)
    table.add_column("sure", no_wrap=True)
    for confusion in report.figures.confusions[:_ROWS]:
        names = (Text(printable(confusion.truth)), Text(printable(confusion.predicted), "bold"))
        sure = Text.assemble((bar(confusion.confidence), "yellow"), f" {number(confusion.confidence)}")
        table.add_row(*names, str(confusion.count), sure)
    return table


def _thresholds(report: Report) -> Table | Text:
    curves = report.figures.thresholds
    found = [(curve, curve.suggestion) for curve in curves if curve.suggestion is not None]
    without = f"Of {len(curves)} labels {len(curves) - len(found)} get no threshold suggested; the page says why"
    if not found:
        return Text(without)
    table = _table("Thresholds suggested")
    table.add_column("label", ratio=1, overflow="fold")
    for name in ("images", "review from", "act from", "reviewed", "missed", "wrong"):
        table.add_column(name, justify="right", no_wrap=True)
    for curve, suggestion in sorted(found, key=lambda pair: -pair[0].images)[:_ROWS]:
        marks = (number(suggestion.review), number(suggestion.act))
        shares = (share(suggestion.reviewed), share(suggestion.missed), share(suggestion.wrong))
        table.add_row(Text(printable(curve.label)), str(curve.images), *marks, *shares)
    table.caption = without if len(found) < len(curves) else None
    return table


def _rejections(report: Report) -> Table:
    table = _table(f"{len(report.rejected)} images were rejected")
    table.add_column("reason", no_wrap=True)
    table.add_column("images", justify="right", no_wrap=True)
    table.add_column("for example", ratio=1, overflow="fold")
    first = {result.reason: result for result in reversed(report.rejected)}
    for reason, count in Counter(result.reason for result in report.rejected).most_common():
        example = first[reason]
        told = Text(printable(f"{example.source[:200]}: {example.detail}"))
        table.add_row(Text(str(reason), "red"), str(count), told)
    return table


def _table(title: str) -> Table:
    return Table(
        title=Text(title, "bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, caption_justify="left"
    )
