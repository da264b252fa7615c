"""Other people's ONNX files: what they take is told from file and description, and what cannot be run is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.cli import ROOT, environment
from tests.unit.models import onnx_files
from tests.unit.models.onnx_files import DESCRIPTION, SIZE
from worker.errors import ConfigurationError, Fatal
from worker.models.backends import onnx_description
from worker.models.classifier import Classifier, PixelBatch
from worker.models.load import load
from worker.models.settings import ModelSettings


def loaded(path: Path, **settings: Any) -> Classifier:
    return load(ModelSettings(source=str(path), device="cpu", **settings))


def pixels(count: int, size: tuple[int, int] = SIZE) -> PixelBatch:
    return np.random.default_rng(1).integers(0, 256, (count, *size, 3), np.uint8)


def softmax(logits: Any) -> Any:
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("colour", ["RGB", "BGR"])
@pytest.mark.parametrize("opset", [11, 15])
def test_pixels_reach_the_model_as_its_description_says(layout: str, colour: str, opset: int, tmp_path: Path) -> None:
    prepared = f'rescale = 1\nmean = [10, 20, 30]\nstd = [50, 60, 70]\ncolour = "{colour}"\n'
    path = onnx_files.save(tmp_path, onnx_files.model(layout=layout, opset=opset), DESCRIPTION + prepared)
    mean, std = np.array([10, 20, 30]), np.array([50, 60, 70])
    logits = onnx_files.expected(pixels(7), colour=colour, scale=1 / std, shift=-mean / std)
    classifier = loaded(path)
    assert classifier.labels == onnx_files.LABELS
    np.testing.assert_allclose(classifier.predict(pixels(7)), softmax(logits), atol=1e-5)
    assert logits.std(axis=0).max() > 0.01


def test_the_models_own_probabilities_are_passed_on(tmp_path: Path) -> None:
    made = onnx_files.model(inside=(onnx.helper.make_node("Softmax", ["raw"], ["logits"], axis=1),))
    path = onnx_files.save(tmp_path, made, DESCRIPTION.replace("softmax", "none"))
    np.testing.assert_allclose(loaded(path).predict(pixels(3)), softmax(onnx_files.expected(pixels(3))), atol=1e-5)


def test_a_model_whose_output_is_no_probabilities_needs_an_activation(tmp_path: Path) -> None:
    path = onnx_files.save(tmp_path, description=DESCRIPTION.replace("softmax", "none"))
    with pytest.raises(ConfigurationError, match=r"gives scores from -.* write scores = `softmax` or `sigmoid`"):
        loaded(path)


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_that_is_free_in_the_manner_of_other_programs_is_free(batch: int, tmp_path: Path) -> None:
    path = onnx_files.save(tmp_path, onnx_files.model(batch=batch))
    assert loaded(path).predict(pixels(3)).shape == (3, 4)


def test_labels_that_exclude_nothing_have_a_sigmoid_each(tmp_path: Path) -> None:
    path = onnx_files.save(tmp_path, description=DESCRIPTION.replace("softmax", "sigmoid"))
    expected = 1 / (1 + np.exp(-onnx_files.expected(pixels(3))))
    np.testing.assert_allclose(loaded(path).predict(pixels(3)), expected, atol=1e-5)


def test_a_model_of_bytes_gets_bytes(tmp_path: Path) -> None:
    made = onnx_files.model(layout="NHWC", element=TensorProto.UINT8)
    path = onnx_files.save(tmp_path, made, DESCRIPTION + "rescale = 1\n")
    expected = softmax(onnx_files.expected(pixels(3), scale=1.0))
    np.testing.assert_allclose(loaded(path).predict(pixels(3)), expected, atol=1e-4)


def test_a_model_of_half_precision_gets_it(tmp_path: Path) -> None:
    path = onnx_files.save(tmp_path, onnx_files.model(element=TensorProto.FLOAT16))
    scores = loaded(path).predict(pixels(3))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, softmax(onnx_files.expected(pixels(3))), atol=5e-3)


def test_a_file_may_take_any_size_and_have_its_weights_among_its_inputs(tmp_path: Path) -> None:
    weights = helper.make_tensor_value_info("weights", TensorProto.FLOAT, [3, 4])
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])
    path = onnx_files.save(tmp_path, onnx_files.model(inputs=[image, weights], ir=3))
    np.testing.assert_allclose(loaded(path).predict(pixels(2)), softmax(onnx_files.expected(pixels(2))), atol=1e-5)


def test_labels_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    path = onnx_files.save(tmp_path, description="\n".join(DESCRIPTION.splitlines()[2:]))
    with pytest.raises(ConfigurationError, match=r"theirs\.txt cannot be read.*one a line"):
        loaded(path)
    path.with_suffix(".txt").write_text("Katze\nHund\nEule\nElch\n")
    before = loaded(path)
    assert before.labels == ("Katze", "Hund", "Eule", "Elch")
    path.with_suffix(".txt").write_text("Katze\nHund\nUhu\nElch\n")
    assert loaded(path).identity.fingerprint != before.identity.fingerprint


def test_the_recipe_is_the_description(tmp_path: Path) -> None:
    path = onnx_files.save(tmp_path)
    recipe = loaded(path).recipe
    assert (recipe.resize_height, recipe.resize_width, recipe.shortest_edge, recipe.crop) == (6, 8, None, False)
    path.with_suffix(".toml").write_text(DESCRIPTION + 'shortest_edge = 10\nresample = "bicubic"\n')
    recipe = loaded(path).recipe
    assert (recipe.resize_height, recipe.shortest_edge, recipe.crop, recipe.resample) == (None, 10, True, 3)
    path.with_suffix(".toml").write_text(DESCRIPTION + "resize = [9, 9]\n")
    recipe = loaded(path).recipe
    assert (recipe.resize_height, recipe.resize_width, recipe.crop, recipe.resample) == (9, 9, True, 2)


def test_its_identity_is_its_bytes(tmp_path: Path) -> None:
    path = onnx_files.save(tmp_path)
    before = loaded(path).identity
    assert (before.name, before.precision) == ("theirs", "fp32")
    assert before.runtime.startswith("onnxruntime ")
    assert before == loaded(path).identity
    path.with_suffix(".toml").write_text(DESCRIPTION + "rescale = 1\n")
    described_anew = loaded(path).identity
    assert described_anew.revision == before.revision
    assert described_anew.fingerprint != before.fingerprint


def test_the_example_of_the_docs_is_a_description(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "models.md").read_text()
    (example,) = re.findall(r"^```ini\n(labels.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "opennsfw.toml").write_text(example)
    described = onnx_description.read(tmp_path / "opennsfw.onnx")
    assert described.labels == ("sfw", "nsfw")
    assert described.licence.id == "bsd-2-clause"
    assert (described.recipe.resize_height, described.recipe.crop, described.recipe.colour) == (256, True, "BGR")
    assert described.recipe.shift == (-104, -117, -123)


def _fixed_inside() -> onnx.ModelProto:
    """Declares a free batch, and turns what it gives into rows of a batch of one."""
    rows = helper.make_node("Reshape", ["raw", "rows"], ["logits"])
    return onnx_files.model(inside=(rows,), constants=[numpy_helper.from_array(np.array([1, 4]), "rows")])


def _depends_on_the_batch() -> onnx.ModelProto:
    mean = helper.make_node("ReduceMean", ["raw"], ["mean"], axes=[0])
    return onnx_files.model(inside=(mean, helper.make_node("Sub", ["raw", "mean"], ["logits"])))


def _image(*shape: int | str) -> onnx.ModelProto:
    return onnx_files.model(inputs=[helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)])


def _two_inputs() -> onnx.ModelProto:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 6, 8]) for name in ("image", "mask")]
    return onnx_files.model(inputs=infos)


def _two_outputs() -> onnx.ModelProto:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("logits", "raw")]
    return onnx_files.model(outputs=infos)


def _scores(*shape: int | str) -> onnx.ModelProto:
    return onnx_files.model(outputs=[helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)])


def _unknown_operator() -> onnx.ModelProto:
    made = onnx_files.model(inside=(helper.make_node("Fancy", ["raw"], ["logits"], domain="com.example"),))
    made.opset_import.append(helper.make_opsetid("com.example", 1))
    return made


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (onnx_files.model(batch=1), r"its batch is fixed to 1: export it anew with a free batch"),
        (_fixed_inside(), r"fails on a batch of 3 .*: if the batch is fixed inside, export it anew"),
        (_depends_on_the_batch(), r"gives an image other scores when it is in a batch with others"),
        (_image("n", 1, 6, 8), r"input image has the shape \(n, 1, 6, 8\), and images have"),
        (_image("n", 3), r"input image has the shape \(n, 3\), and images have"),
        (_two_inputs(), r"it has 2 inputs \(image, mask\)"),
        (_two_outputs(), r"it has 2 outputs \(logits, raw\)"),
        (_scores("n", 4, 1, 1), r"output logits has the shape \(n, 4, 1, 1\), and scores have \(N, labels\)"),
        (onnx_files.model(element=TensorProto.DOUBLE), r"input image takes neither float32 nor uint8 nor float16"),
        (onnx_files.model(opset=6), r"operators are of version 6, and 7 is the oldest"),
        (_unknown_operator(), r"ONNX Runtime cannot run the file .*Fancy"),
    ],
)
def test_a_file_that_is_no_classifier_of_free_batches_is_refused_in_one_line(
    made: onnx.ModelProto, said: str, tmp_path: Path
) -> None:
    path = onnx_files.save(tmp_path, made)
    with pytest.raises(Fatal, match=said) as caught:
        loaded(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("description", "said"),
    [
        (DESCRIPTION.replace('"elk"', '"elk", "bee"'), "gives 4 scores, and its description names 5 labels"),
        (DESCRIPTION.replace("height = 6", "height = 7"), "takes images of height 6, and its description says 7"),
        (DESCRIPTION.replace("width = 8", ""), r"input\.width: Field required"),
        (DESCRIPTION.replace('"elk"', '" "'), "a label has no text"),
        (DESCRIPTION + "std = [0, 1, 1]\n", "input: no std may be 0"),
        (DESCRIPTION + "shortest_edge = 9\nresize = [9, 9]\n", "write shortest_edge or resize, not both"),
        (DESCRIPTION + 'color = "BGR"\n', r"input\.color: Extra inputs are not permitted"),
        (DESCRIPTION.replace("softmax", "soft"), "scores: Input should be 'none', 'softmax' or 'sigmoid'"),
        ("labels = [", "is not TOML"),
        (None, "an ONNX file does not say its labels"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(description: str | None, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        loaded(onnx_files.save(tmp_path, description=description))
    assert "theirs." in str(caught.value)


def test_a_model_of_bytes_is_not_normalised(tmp_path: Path) -> None:
    path = onnx_files.save(tmp_path, onnx_files.model(element=TensorProto.UINT8))
    with pytest.raises(ConfigurationError, match=r"takes bytes, so its description must say `rescale = 1`"):
        loaded(path)


def test_weights_in_further_files_are_refused(tmp_path: Path) -> None:
    path = onnx_files.save(tmp_path)
    onnx.save(onnx_files.model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(Fatal, match=r"weights are in further files: save it as one"):
        loaded(path)


@pytest.mark.parametrize("content", [b"", b"\x08\x07garbage", b"not an onnx file"])
def test_what_is_no_onnx_is_refused(content: bytes, tmp_path: Path) -> None:
    path = onnx_files.save(tmp_path)
    path.write_bytes(content)
    with pytest.raises(Fatal, match=r"the ONNX file .*theirs\.onnx cannot be used: .+"):
        loaded(path)


def test_a_precision_of_the_settings_changes_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"model\.precision is `bf16`, but the ONNX file"):
        loaded(onnx_files.save(tmp_path), precision="bf16")


def test_cuda_that_onnx_runtime_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"model\.device is `cuda`, but ONNX Runtime has no CUDA"):
        load(ModelSettings(source=str(onnx_files.save(tmp_path)), device="cuda"))


def test_a_missing_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.models.backends.onnx_file.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"needs onnx, onnxruntime.*pip install 'image-worker\[onnx\]'"):
        loaded(onnx_files.save(tmp_path))


def test_no_torch_is_imported_for_it(tmp_path: Path) -> None:
    program = (
        "import sys; from worker.models.load import load; from worker.models.settings import ModelSettings;"
        "load(ModelSettings(source=sys.argv[1], device='cpu')); sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(onnx_files.save(tmp_path))]
    assert subprocess.run(command, env=environment(), timeout=60, check=False).returncode == 0


_TOO_LITTLE_MEMORY = """
import resource, sys
import numpy as np
from worker.models.classifier import OutOfMemory
from worker.models.load import load
from worker.models.settings import ModelSettings

classifier = load(ModelSettings(source=sys.argv[1], device="cpu"))
pixels = np.zeros((20_000, 100, 100, 3), np.uint8)
mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + 256 * 2**20,) * 2)
try:
    classifier.predict(pixels)
except OutOfMemory as error:
    print(error)
print(classifier.predict(pixels[:10]).shape)
"""


def test_out_of_memory_is_told_apart_and_a_smaller_batch_does_then(tmp_path: Path) -> None:
    path = onnx_files.save(
        tmp_path, onnx_files.model(size=(100, 100)), DESCRIPTION.replace("6", "100").replace("8", "100")
    )
    process = subprocess.run(
        [sys.executable, "-c", _TOO_LITTLE_MEMORY, str(path)],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        text=True,
        check=False,
    )
    said, shape = process.stdout.splitlines()
    assert said.startswith("20000 images did not fit the device: ")
    assert shape == "(10, 4)"
    assert process.stderr == ""


def test_another_error_on_a_cpu_may_be_the_images_fault(tmp_path: Path) -> None:
    classifier = loaded(onnx_files.save(tmp_path))
    with pytest.raises(Exception, match="invalid dimensions") as caught:
        classifier.predict(pixels(1, (3, 3)))
    assert not isinstance(caught.value, Fatal)
