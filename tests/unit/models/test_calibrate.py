"""Which batch is chosen, and what is measured on the way."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from tests.unit.models import checkpoints
from tests.unit.models.fakes import Fake
from worker import opening
from worker.cli.root import app
from worker.errors import ConfigurationError, Fatal
from worker.models import ready
from worker.models.calibrate import Limits, Measurement, choose, measure
from worker.models.classifier import PixelBatch, ScoreBatch
from worker.models.curves import draw
from worker.observe.metrics import Metrics
from worker.settings import resolve
from worker.testing import FreeClassifier

measurements = st.lists(
    st.builds(
        Measurement,
        size=st.integers(1, 512),
        images_per_s=st.floats(1, 1e4),
        latency_s=st.floats(1e-3, 10),
        memory_bytes=st.integers(1, 2**40),
    ),
    min_size=1,
    max_size=10,
    unique_by=lambda each: each.size,
)


@given(measurements, st.floats(1e-3, 10), st.integers(1, 2**40))
def test_the_smallest_within_five_percent_of_the_best_that_is_allowed(
    found: list[Measurement], latency_s: float, memory_bytes: int
) -> None:
    limits = Limits(latency_s, memory_bytes)
    allowed = [each for each in found if each.latency_s <= latency_s and each.memory_bytes <= memory_bytes]
    if not allowed:
        with pytest.raises(ConfigurationError, match="no batch keeps the limits"):
            choose(found, limits)
        return
    chosen, best = choose(found, limits), max(each.images_per_s for each in allowed)
    assert chosen in allowed
    assert chosen.images_per_s >= 0.95 * best
    assert all(each.images_per_s < 0.95 * best for each in allowed if each.size < chosen.size)


class Costly(Fake):
    """Takes a mebibyte for each image."""

    def __init__(self, fits: int = 1_000) -> None:
        super().__init__(fits)
        self.ballast = np.empty(0, np.uint8)

    def predict(self, batch: PixelBatch) -> ScoreBatch:
        scores = super().predict(batch * 0)  # some first pixels make the fake fail
        self.ballast = np.ones(len(batch) * 2**20, np.uint8)
        return scores


def test_every_size_is_measured_with_its_memory_up_to_what_fits() -> None:
    shares: list[float] = []
    found = measure(Costly(fits=70), 256, 0.5, Limits(), shares.append)
    assert [each.size for each in found] == [1, 2, 4, 8, 16, 32, 64][: len(found)]
    assert all(each.images_per_s > 0 and each.latency_s > 0 and each.memory_bytes > 2**20 for each in found)
    assert shares == [0.2, 0.4, 0.6, 0.8, 1.0]


def test_sizes_beyond_a_limit_are_not_tried() -> None:
    model = Costly()
    found = measure(model, 256, 0.1, Limits(latency_s=0.0))
    assert [each.size for each in found] == [1]
    assert set(model.sizes) == {1}


def test_a_model_that_fits_no_image_says_so() -> None:
    with pytest.raises(Fatal, match="does not fit the device with one image"):
        measure(Fake(fits=0), 8, 0.1, Limits())


@pytest.mark.parametrize("name", ["curves.svg", "curves.png"])
def test_the_curves_are_drawn(name: str, tmp_path: Path) -> None:
    found = [Measurement(size, 100.0 * size, 0.01, 2**20) for size in (1, 2, 4)]
    draw(found, found[1], tmp_path / name)
    assert (tmp_path / name).stat().st_size > 5_000


def test_a_plot_that_cannot_be_drawn_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    for name, said in (("curves.nope", "must end in a format: .*svg"), ("nowhere/curves.svg", "there is no folder")):
        done = calibrate("--set", "model.source=/no/model", f"--plot={tmp_path / name}")
        assert isinstance(done.exception, ConfigurationError)
        assert re.search(rf"--plot .*{said}", str(done.exception))


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save("vit", tmp_path_factory.mktemp("vit"))


def calibrate(*words: str) -> Result:
    return CliRunner().invoke(
        app, [*words[:-1], "model", "calibrate", "--max-size", "4", "--seconds", "1", *words[-1:]]
    )


def test_the_command_shows_a_table_and_writes_what_it_chose_into_the_configuration(vit: Path, tmp_path: Path) -> None:
    config = tmp_path / "worker.toml"
    config.write_text(f'# mine\n[model]\nsource = "{vit}"  # tiny\ndevice = "cpu"\n[batch]\nmax_age_ms = 5 # soon\n')
    done = calibrate("--config", str(config), "--write")
    assert done.exit_code == 0, done.output
    rows = [line.split()[0] for line in done.output.splitlines() if line[:1].isdigit()]
    assert rows == ["1", "2", "4"]
    (chosen,) = re.findall(r"^batch\.max_size = (\d)$", done.output, re.MULTILINE)
    written = config.read_text()
    assert tomllib.loads(written)["batch"] == {"max_age_ms": 5, "max_size": int(chosen)}
    assert written.startswith("# mine\n[model]")
    assert "# tiny" in written
    assert "# soon" in written
    assert resolve(config, [], {}).settings.batch.size == int(chosen)


def test_the_command_refuses_limits_that_nothing_keeps(vit: Path) -> None:
    done = calibrate("--set", f"model.source={vit}", "--set", "model.device=cpu", "--max-memory-mib=1")
    assert isinstance(done.exception, ConfigurationError)
    assert "no batch keeps the limits: 1 image takes" in str(done.exception)


def test_the_command_refuses_to_write_into_nothing() -> None:
    done = calibrate("--write")
    assert isinstance(done.exception, ConfigurationError)
    assert "image-worker --config FILE" in str(done.exception)


async def test_a_start_with_auto_measures_and_takes_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "_LARGEST_MEASURED", 4)
    monkeypatch.setattr(ready, "_MEASURED_FOR_S", 0.1)
    settings = resolve(None, ["batch.max_size=auto", "images.decoders=threads"], {}).settings
    async with opening.open_chain(settings, Metrics(), FreeClassifier()) as room:
        assert room.batch_size in (1, 2, 4)
