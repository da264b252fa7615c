"""The torch backend on a real CUDA device. Skipped where there is none: the same code is tested on a CPU elsewhere."""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.cli import ROOT, environment
from tests.unit.models import checkpoints
from worker.models.backends.torch import TorchClassifier
from worker.models.backends.torch import load as load_torch
from worker.models.classifier import PixelBatch, ScoreBatch
from worker.models.load import load
from worker.models.provenance.files import locate
from worker.models.provenance.golden import compare, outputs
from worker.models.runner import Runner
from worker.models.settings import DEMO, ModelSettings, Precision

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")

CLOSE = 1e-5
"""How far scores in fp32 may be from a CPU's: sums are made in another order."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save("vit", tmp_path_factory.mktemp("vit"))


def classifier(directory: Path, device: Any = "cuda", **more: Any) -> TorchClassifier:
    settings = ModelSettings(source=str(directory), device=device, **more)
    return load_torch(settings, locate(str(directory)))


def pixels(count: int, seed: int = 0) -> PixelBatch:
    return np.random.default_rng(seed).integers(0, 256, (count, 224, 224, 3), np.uint8)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_demo_scores_as_on_a_cpu_within_the_tolerance_of_a_lock(precision: Precision) -> None:
    on_cpu = outputs(load(ModelSettings(source=DEMO, device="cpu")))
    model = load(ModelSettings(source=DEMO, device="cuda", precision=precision))
    for locked, found in zip(on_cpu, outputs(model), strict=True):
        assert compare(locked, found, model.labels, precision).trouble is None


def test_batches_that_follow_each_other_on_the_device_keep_their_own_scores(directory: Path) -> None:
    model, on_cpu = classifier(directory), classifier(directory, "cpu")
    batches = [pixels(size, seed) for seed, size in enumerate([3, 64, 1, 17, 64, 2, 33] * 6)]
    found: list[ScoreBatch] = []
    under_way: deque[Any] = deque()
    for batch in batches:
        under_way.append(model.begin(batch))
        if len(under_way) == 2:
            found.append(under_way.popleft()())
    found.append(under_way.popleft()())
    for batch, scores in zip(batches, found, strict=True):
        np.testing.assert_allclose(scores, on_cpu.predict(batch), atol=CLOSE)


def test_a_deterministic_model_gives_an_image_the_same_bits_whichever_come_with_it(directory: Path) -> None:
    model = classifier(directory, deterministic=True)
    try:
        model.prepare(8)
        batch = pixels(8)
        together = model.predict(batch)
        for index in range(8):
            assert (model.predict(np.roll(batch, -index, axis=0)[: index + 1])[0] == together[index]).all()
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_compiled_model_scores_as_it_does_otherwise(directory: Path) -> None:
    model, otherwise = classifier(directory, compile=True), classifier(directory)
    model.prepare(4)
    for count in (1, 3, 4):
        np.testing.assert_allclose(model.predict(pixels(count)), otherwise.predict(pixels(count)), atol=CLOSE)


@pytest.fixture
def scarce() -> Iterator[None]:
    """A device with 128 MiB more than what is taken by now."""
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 128 * 2**20) / whole)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_batch_that_does_not_fit_is_split_until_it_does(directory: Path, scarce: None) -> None:
    runner, batch = Runner(classifier(directory), 512), pixels(512)
    expected = classifier(directory, "cpu").predict(batch)
    run = runner.finish(runner.begin(batch))
    assert run.splits > 0
    assert runner.ceiling.size < 512
    results: Any = run.results
    np.testing.assert_allclose(np.stack(results), expected, atol=CLOSE)


LOST = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
import torch
from tests.unit.models.test_cuda import classifier
from worker.errors import Fatal

def lose(pixels):
    return torch.zeros(4, 4, device="cuda")[torch.full((len(pixels),), 9, device="cuda")]

model = replace(classifier(Path(sys.argv[1])), score=lose)
try:
    model.predict(np.zeros((2, 224, 224, 3), np.uint8))
except Fatal as error:
    print(error)
"""


def test_a_device_that_fails_ends_the_process_with_an_error(directory: Path) -> None:
    command = [sys.executable, "-c", LOST, str(directory)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, env=environment())
    assert "the device cuda failed, and the worker has to be started anew" in ended.stdout, ended.stderr
