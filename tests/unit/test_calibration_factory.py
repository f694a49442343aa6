"""The model factory in miniature: a tiny net and drawn pictures through training, export and quantisation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

torch = pytest.importorskip("torch", reason="the calibration extra is not installed")

from calibration import quantize, ranges  # noqa: E402
from calibration.eval.overlap import mean_overlap, overlap  # noqa: E402
from calibration.eval.runner import Runner  # noqa: E402
from calibration.export import exported  # noqa: E402
from calibration.student import Student, folded, normalised  # noqa: E402
from tests.support.tiny import SIDE, drawn, tiny  # noqa: E402


def used() -> Student:
    """The tiny net with biases and batch statistics that are not a fresh net's zeros and ones."""
    student, rng = tiny(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in [*student.named_parameters(), *student.named_buffers()]:
            if "bias" in name or ("norm" in name and value.is_floating_point()):
                value.add_(torch.rand(value.shape, generator=rng) * 0.3)
    return student


@pytest.fixture(scope="module")
def fp32() -> onnx.ModelProto:
    return exported(used(), SIDE)


@pytest.fixture(scope="module")
def frames() -> list[ranges.Frame]:
    return [np.dstack([s.picture, np.full((SIDE, SIDE), 255, np.uint8)])[None] for s in drawn(6, 3)]


@pytest.fixture(scope="module")
def calibration(fp32: onnx.ModelProto, frames: list[ranges.Frame]) -> quantize.Calibration:
    return quantize.calibrated(fp32, frames, "mse")


def run(graph: onnx.ModelProto, frame: ranges.Frame, **options: object) -> dict[str, np.ndarray]:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    for key, value in options.items():
        setattr(settings, key, value)
    session = ort.InferenceSession(graph.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, {"image": frame}), strict=True))


# ----------------------------------------------------------------------------------------------- export


def test_export_is_the_net(fp32: onnx.ModelProto, frames: list[ranges.Frame]) -> None:
    student = used()
    with torch.no_grad():
        picture = torch.from_numpy(frames[0][..., :3]).permute(0, 3, 1, 2)
        wanted = student.eval()(normalised(picture))
        torch.testing.assert_close(folded(student)(normalised(picture)), wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(run(fp32, frames[0])["polyp"], wanted.numpy(), rtol=1e-3, atol=1e-4)


def test_alpha_is_ignored(fp32: onnx.ModelProto, frames: list[ranges.Frame]) -> None:
    clear = frames[0].copy()
    clear[..., 3] = 0
    for name, value in run(fp32, frames[0]).items():
        np.testing.assert_array_equal(value, run(fp32, clear)[name])


@pytest.mark.parametrize("encoding", ["fp32", "u8", "s8"])
def test_picture_quality_outputs(
    fp32: onnx.ModelProto, calibration: quantize.Calibration, encoding: str, frames: list[ranges.Frame]
) -> None:
    graph = fp32 if encoding == "fp32" else quantize.quantised(fp32, calibration, encoding)
    answer = run(graph, frames[1])
    rgb = frames[1][0, ..., :3].astype(np.float32)
    cells = rgb.reshape(8, 8, 8, 8, 3).mean((1, 3)).transpose(2, 0, 1)
    tolerance = 1e-3 if encoding == "fp32" else 0.51
    np.testing.assert_allclose(answer["thumbnail"][0], cells, atol=tolerance)
    luma = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    laplacian = np.abs(cv2.Laplacian(luma, cv2.CV_32F)[1::4, 1::4])
    if encoding != "fp32":
        laplacian = np.minimum(laplacian, 63.5)
    wanted = laplacian.reshape(8, 2, 8, 2).mean((1, 3))
    np.testing.assert_allclose(answer["detail"][0, 0], wanted, atol=1e-2 if encoding == "fp32" else 2.0)


# --------------------------------------------------------------------------------------------- quantize


def test_u8_and_s8_are_one_grid(
    fp32: onnx.ModelProto, calibration: quantize.Calibration, frames: list[ranges.Frame]
) -> None:
    u8, s8 = (run(quantize.quantised(fp32, calibration, e), frames[0])["polyp"] for e in ("u8", "s8"))
    step = calibration.ranges[quantize.units(fp32)[-3].output] / ranges.LEVELS
    assert np.abs(u8 - s8).max() <= 1.01 * step
    assert (u8 == s8).mean() > 0.8


def test_int8_stays_close_to_fp32(
    fp32: onnx.ModelProto, calibration: quantize.Calibration, frames: list[ranges.Frame]
) -> None:
    wanted, got = run(fp32, frames[0])["polyp"], run(quantize.quantised(fp32, calibration, "u8"), frames[0])["polyp"]
    assert np.abs(wanted - got).mean() < 0.1 * wanted.std()


def test_u8_has_zero_point_128_and_int8_weights_per_channel(
    fp32: onnx.ModelProto, calibration: quantize.Calibration
) -> None:
    graph = quantize.quantised(fp32, calibration, "u8").graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    made_by = {node.output[0]: node for node in graph.node}
    activations = {n.input[2] for n in graph.node if n.op_type == "QuantizeLinear"}
    assert {(str(constants[name].dtype), int(constants[name])) for name in activations} == {("uint8", 128)}
    for conv in (n for n in graph.node if n.op_type == "Conv"):
        source, weight, bias = (made_by[name] for name in conv.input)
        integers = constants[weight.input[0]]
        assert source.op_type == "DequantizeLinear"
        assert integers.dtype == np.int8
        assert constants[weight.input[1]].shape == (len(integers),)
        assert constants[bias.input[0]].dtype == np.int32


def test_onnx_runtime_fuses_every_convolution_and_sum(
    fp32: onnx.ModelProto, calibration: quantize.Calibration, frames: list[ranges.Frame], tmp_path: Path
) -> None:
    path = tmp_path / "optimised.onnx"
    run(quantize.quantised(fp32, calibration, "u8"), frames[0], optimized_model_filepath=str(path))
    operations = [node.op_type for node in onnx.load(str(path)).graph.node]
    assert operations.count("QLinearConv") == sum(n.op_type == "Conv" for n in fp32.graph.node)
    assert "Conv" not in operations
    assert "Relu" not in operations
    # Three graph outputs leave the grid; nothing inside does.
    assert operations.count("DequantizeLinear") == 3


def test_s8_has_the_form_tensorrt_fuses(fp32: onnx.ModelProto, calibration: quantize.Calibration) -> None:
    graph = quantize.quantised(fp32, calibration, "s8").graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    zeros = [constants[n.input[2]] for n in graph.node if n.op_type == "QuantizeLinear"]
    assert {(str(z.dtype), int(z)) for z in zeros} == {("int8", 0)}
    made_by = {node.output[0]: node.op_type for node in graph.node}
    sums = [n for n in graph.node if n.op_type == "Add" and all(i in made_by for i in n.input)]
    assert sums
    assert any(sorted(made_by[i] for i in n.input) == ["Conv", "DequantizeLinear"] for n in sums)
    assert "Clip" not in {n.op_type for n in graph.node}
    assert {constants[n.input[2]].dtype.name for n in graph.node if n.op_type == "Conv"} == {"float32"}


def test_a_channel_without_weights_keeps_its_bias(
    fp32: onnx.ModelProto, calibration: quantize.Calibration, frames: list[ranges.Frame]
) -> None:
    dead = onnx.ModelProto()
    dead.CopyFrom(fp32)
    conv = next(u.node for u in quantize.units(dead) if u.node.op_type == "Conv")
    for initialiser in dead.graph.initializer:
        if initialiser.name in (conv.input[1], conv.input[2]):
            value = numpy_helper.to_array(initialiser).copy()
            value[1] = 0.0 if initialiser.name == conv.input[1] else 1.5
            initialiser.CopyFrom(numpy_helper.from_array(value, initialiser.name))
    for encoding in quantize.ENCODINGS:
        graph = quantize.quantised(dead, quantize.Calibration(calibration.ranges), encoding)
        session = ranges.observed(graph, [conv.output[0]])
        (answer,) = session.run(None, {"image": frames[0]})
        np.testing.assert_allclose(answer[0, 1], 1.5, rtol=1e-3)


def test_bias_correction_takes_the_mean_error_away() -> None:
    rng = np.random.default_rng(0)
    for groups in (1, 4):
        weight = rng.normal(size=(8, 4 // groups, 3, 3))
        picture = rng.normal(1.0, 0.5, (1, 4, 40, 40))
        convolved = torch.nn.functional.conv2d(torch.from_numpy(picture), torch.from_numpy(weight), groups=groups)
        wanted = quantize.mean_response(weight, picture.mean((0, 2, 3)))
        np.testing.assert_allclose(convolved.mean((0, 2, 3)).numpy(), wanted, atol=0.3)


@pytest.mark.parametrize("method", sorted(ranges.METHODS))
def test_ranges_cover_the_bulk_and_never_more_than_was_seen(method: str) -> None:
    values = np.abs(np.random.default_rng(0).normal(size=100_000))
    values[0] = 40.0  # an outlier
    counts = np.bincount((values / 40.0 * ranges.BINS).astype(int).clip(max=ranges.BINS - 1), minlength=ranges.BINS)
    reach = ranges.METHODS[method](counts.astype(float), 40.0)
    assert 2.0 < reach <= 40.0
    assert (reach == 40.0) == (method == "min-max")


# ------------------------------------------------------------------------------------------ evaluate


def test_overlap_by_hand() -> None:
    found, truth = np.zeros((2, 4, 4), bool)
    found[0, :4], truth[:2, 0] = True, True
    assert overlap(found, truth).dice == pytest.approx(2 * 1 / 6)
    assert overlap(found, truth).iou == pytest.approx(1 / 5)
    assert overlap(truth & False, truth & False).dice == 1.0


def test_the_runner_scores_what_a_perfect_answer_would(fp32: onnx.ModelProto) -> None:
    runner = Runner(fp32.SerializeToString(), threads=1)
    answered = [replace(s, mask=np.where(runner.logits(s.picture) > 0, 255, 0)) for s in drawn(2)]
    assert mean_overlap(runner, answered).dice == 1.0
