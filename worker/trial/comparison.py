"""A trial against an earlier one of the same manifest: which images changed sides, and whether that is chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from worker.errors import ConfigurationError
from worker.records import ModelIdentity
from worker.trial.bootstrap import Estimate, of_mean
from worker.trial.mcnemar import p_value
from worker.trial.rows import Manifest


@dataclass(frozen=True, slots=True)
class Result:
    """One row and what came of it."""

    source: str
    label: str
    """As the manifest has it."""
    truth: str
    """The class that this is, as reports name it."""
    predicted: str | None = None
    """None where the image was rejected, for `reason`."""
    confidence: float | None = None
    truth_score: float | None = None
    rank: int | None = None
    """How many classes came before the true one."""
    reason: str | None = None
    detail: str | None = None

    @property
    def right(self) -> bool:
        """Whether the image was classified as what it is."""
        return self.predicted == self.truth


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is needed of an earlier report."""

    format: Literal["image-worker evaluation 1"]
    made_at: str
    model: ModelIdentity
    settings: Mapping[str, Any]
    results: Sequence[Result]


@dataclass(frozen=True, slots=True)
class Change:
    """An image that only one of the two got right."""

    source: str
    truth: str
    before: str
    now: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two trials, over the images that both classified."""

    baseline: ModelIdentity
    made_at: str
    differing: Mapping[str, tuple[Any, Any]]
    """What differs between the two in model and settings, before and now."""
    images: int
    both_right: int
    only_before: int
    only_now: int
    both_wrong: int
    difference: Estimate
    """Of top-1, now less before."""
    p: float
    """McNemar's."""
    changes: Sequence[Change]
    """The images of `only_before`, then those of `only_now`."""


def load(path: Path, manifest: Manifest) -> Baseline:
    """An earlier report. Raises ConfigurationError where it is none, or one of another manifest."""
    try:
        baseline = TypeAdapter(Baseline).validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"--baseline {path}: {error.strerror}") from None
    except ValidationError:
        raise ConfigurationError(
            f"--baseline {path} is no report that this version reads: give a file that `evaluate --json` wrote"
        ) from None
    before = {(result.source, result.label) for result in baseline.results}
    now = {(row.source, row.label) for row in manifest.rows}
    if before != now:
        raise ConfigurationError(
            f"--baseline {path} is of another manifest: {len(before & now)} rows (image and label) are common, of"
            f" {len(before)} there and {len(now)} here; run both models on the same manifest"
        )
    return baseline


def compare(baseline: Baseline, model: ModelIdentity, settings: Mapping[str, Any], now: Sequence[Result]) -> Comparison:
    """The comparison of the results with those of the baseline, both of one manifest."""
    by_source = {result.source: result for result in baseline.results}
    pairs = [(by_source[result.source], result) for result in now]
    pairs = [(old, new) for old, new in pairs if old.predicted is not None and new.predicted is not None]
    sides = Counter((old.right, new.right) for old, new in pairs)
    gain = np.array([float(new.right) - float(old.right) for old, new in pairs])
    changed = [pair for pair in pairs if pair[0].right != pair[1].right]
    changed.sort(key=lambda pair: pair[1].right)
    return Comparison(
        baseline=baseline.model,
        made_at=baseline.made_at,
        differing=_differing(asdict(baseline.model) | dict(baseline.settings), asdict(model) | dict(settings)),
        images=len(pairs),
        both_right=sides[True, True],
        only_before=sides[True, False],
        only_now=sides[False, True],
        both_wrong=sides[False, False],
        difference=of_mean(gain) if pairs else Estimate(None),
        p=p_value(sides[True, False], sides[False, True]),
        changes=[Change(new.source, new.truth, str(old.predicted), str(new.predicted)) for old, new in changed],
    )


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    keys = [key for key in now if key != "fingerprint"]
    return {key: (before.get(key), now[key]) for key in keys if before.get(key) != _plain(now[key])}


def _plain(value: Any) -> Any:
    """As it comes back from JSON."""
    return list(value) if isinstance(value, tuple) else value
