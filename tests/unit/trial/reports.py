"""Reports made of a few answers, for the tests of what is written."""

from __future__ import annotations

from collections.abc import Sequence

from tests.unit.trial.sheets import sure
from worker.records import ModelIdentity
from worker.trial.comparison import Comparison, Result
from worker.trial.figures import add_up
from worker.trial.machine import Machine
from worker.trial.pace import Pace
from worker.trial.report import FORMAT, Report, of_all

MODEL = ModelIdentity("cats", "0" * 40, "f" * 64, "torch 2", "fp32")


def result(source: str, truth: str, predicted: str | None) -> Result:
    if predicted is None:
        return Result(source, truth, truth, reason="not_an_image", detail="no image")
    return Result(source, truth, truth, predicted, 0.9, 0.9 if predicted == truth else 0.05, int(predicted != truth))


def report(
    results: Sequence[Result],
    names: Sequence[str] = ("a", "b", "c"),
    comparison: Comparison | None = None,
    model: ModelIdentity = MODEL,
) -> Report:
    """Of these results, each with a confidence of 0.9."""
    seen = [one for one in results if one.predicted is not None]
    places = [(names.index(one.truth), names.index(str(one.predicted))) for one in seen]
    answers = sure([truth for truth, _ in places], [predicted for _, predicted in places], 0.9, len(names))
    return Report(
        format=FORMAT,
        version="1",
        made_at="2026-01-02T03:04:05+00:00",
        manifest="m.csv",
        images=len(results),
        model=model,
        settings={"images.draft": 3, "images.formats": ("jpeg", "png")},
        machine=Machine("a processor", 2, None, "Linux"),
        pace=Pace(len(results), 0, 10.0, 128, 5.0, 9.0),
        top1_of_all=of_all(results),
        figures=add_up(answers, names),
        results=results,
        comparison=comparison,
    )
