"""Zero-shot models against transformers' own pipeline, their label sets, and how those change."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import pipeline

from tests.unit.models import checkpoints, two_towers
from worker.errors import ConfigurationError
from worker.models.backends.zero_shot import ZeroShotClassifier
from worker.models.classifier import PixelBatch
from worker.models.load import load
from worker.models.prepare import pixels
from worker.models.runner import Runner
from worker.models.settings import ModelSettings

LABELS = ("a cat", "a dog", "an owl on a tree", "coffee")
KINDS = ("clip", "siglip")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: two_towers.save(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


def settings(directory: Path, **more: Any) -> ModelSettings:
    return ModelSettings(source=str(directory), device="cpu", **{"labels": LABELS, **more})


def zero_shot(directory: Path, **more: Any) -> ZeroShotClassifier:
    classifier = load(settings(directory, **more))
    assert isinstance(classifier, ZeroShotClassifier)
    return classifier


def batch(classifier: ZeroShotClassifier, count: int) -> PixelBatch:
    files = []
    for image in checkpoints.images(count):
        image.save(stream := BytesIO(), "png")
        files.append(BytesIO(stream.getvalue()))
    return np.concatenate([pixels(classifier.recipe, file) for file in files])


def by_transformers(directory: Path, labels: tuple[str, ...], template: str, count: int) -> Any:
    pipe: Any = pipeline("zero-shot-image-classification", model=str(directory), image_processor_backend="pil")
    assert type(pipe.image_processor).__name__.endswith("Pil")
    rows = []
    for answer in pipe(checkpoints.images(count), candidate_labels=list(labels), hypothesis_template=template):
        scores = {each["label"]: each["score"] for each in answer}
        rows.append([scores[label] for label in labels])
    return np.array(rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("template", ["This is a photo of {}.", "{}"])
def test_scores_equal_those_of_transformers(kind: str, template: str, saved: dict[str, Path]) -> None:
    classifier = zero_shot(saved[kind], templates=(template,))
    expected = by_transformers(saved[kind], LABELS, template, 8)
    assert expected.std(axis=0).max() > 0.01, "the images are told apart"
    assert expected.std(axis=1).max() > 0.01, "the labels are told apart"
    np.testing.assert_allclose(classifier.predict(batch(classifier, 8)), expected, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_one_label_scores_as_in_transformers_too(kind: str, saved: dict[str, Path]) -> None:
    classifier = zero_shot(saved[kind], labels=("a cat",))
    expected = by_transformers(saved[kind], ("a cat",), "This is a photo of {}.", 3)
    np.testing.assert_allclose(classifier.predict(batch(classifier, 3)), expected, atol=1e-4)


def test_several_templates_are_one_mean_embedding(saved: dict[str, Path]) -> None:
    one, other = (zero_shot(saved["clip"], templates=(template,)) for template in ("a {}", "one {}"))
    both = zero_shot(saved["clip"], templates=("a {}", "one {}"))
    mean = (one._now.text + other._now.text).numpy() / 2
    np.testing.assert_allclose(both._now.text.numpy(), mean / np.linalg.norm(mean, axis=0), atol=1e-6)


def test_other_labels_take_effect_with_the_next_batch_and_have_another_version(saved: dict[str, Path]) -> None:
    classifier = zero_shot(saved["siglip"])
    runner = Runner(classifier, max_size=4)
    images = batch(classifier, 2)
    first = runner.begin(images)
    identity = classifier.relabel(("coffee", "a cat"))
    before, after = runner.finish(first), runner.finish(runner.begin(images))
    assert (before.head.labels, after.head.labels) == (LABELS, ("coffee", "a cat"))
    assert after.head.identity == identity
    assert before.head.identity.labels_version != identity.labels_version
    assert before.head.identity.fingerprint != identity.fingerprint
    # SigLIP scores each label on its own, so the two that stayed have the scores that they had.
    np.testing.assert_allclose(np.array(after.results), np.array(before.results)[:, [3, 0]], atol=1e-6)


def test_the_same_labels_have_the_same_version_again(saved: dict[str, Path]) -> None:
    first, again = zero_shot(saved["clip"]), zero_shot(saved["clip"])
    assert first.identity == again.identity
    assert len(first.identity.labels_version) == 12
    shuffled, other = zero_shot(saved["clip"], labels=LABELS[::-1]), zero_shot(saved["clip"], templates=("{}",))
    assert len({each.identity.fingerprint for each in (first, shuffled, other)}) == 3


def test_a_label_that_is_too_long_is_refused_and_the_others_stay(saved: dict[str, Path]) -> None:
    classifier = zero_shot(saved["clip"])
    with pytest.raises(ConfigurationError, match=r"'This is a photo of zzz.* has \d+ tokens, and .* reads 77"):
        classifier.relabel(["z" * 100])
    assert not classifier.renewal_waits
    assert classifier.labels == LABELS


@pytest.mark.parametrize(
    ("labels", "said"), [((), "write at least one"), (("a cat", "a dog", "a cat"), "'a cat' stands there twice")]
)
def test_what_is_no_label_set_is_refused(labels: tuple[str, ...], said: str, saved: dict[str, Path]) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load(settings(saved["clip"], labels=labels))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "write at least one"),
        (b"cat\n\xff\n", "not UTF-8: invalid start byte at byte 4"),
        (b"cat\ndog\ncat\n", "'cat' stands there twice"),
        (b"x" * 3_000_000, "larger than 2,000,000 bytes"),
        (b"\n".join(b"%d" % number for number in range(10_001)), "10001 labels are more than 10000"),
    ],
)
def test_a_file_that_is_no_label_set_is_refused_by_name(
    content: bytes, said: str, saved: dict[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=rf"model\.labels_file: .*labels\.txt.*{said}"):
        load(settings(saved["clip"], labels=(), labels_file=file))


def test_a_pipe_is_no_file_of_labels_and_is_not_waited_for(saved: dict[str, Path], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels.txt")
    with pytest.raises(ConfigurationError, match=r"labels\.txt is no regular file"):
        load(settings(saved["clip"], labels=(), labels_file=tmp_path / "labels.txt"))


def test_labels_come_from_a_file_one_a_line(saved: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("\ufeffa cat\n\n  a dog \r\n", encoding="utf-8")
    assert zero_shot(saved["clip"], labels=(), labels_file=file).labels == ("a cat", "a dog")


def test_labels_for_a_model_that_has_its_own_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"model\.labels: .* is no zero-shot model"):
        load(settings(checkpoints.save("vit", tmp_path)))


@pytest.mark.parametrize("template", ["no place", "{} and {}", "{0.__class__}", "{}{"])
def test_a_template_without_one_place_for_the_label_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"needs one \{\} for the label"):
        ModelSettings(templates=(template,))
