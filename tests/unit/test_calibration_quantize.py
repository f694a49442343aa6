"""One calibration, two encodings, an audit by TensorRT's rules, and what each unit costs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

torch = pytest.importorskip("torch", reason="the calibration extra is not installed")

from calibration import halves, quantize, ranges, sensitivity  # noqa: E402
from calibration.audit import audited  # noqa: E402
from calibration.cli import main  # noqa: E402
from calibration.parity import agreement, output_step  # noqa: E402
from calibration.quantize import Calibration, calibrated, quantised  # noqa: E402
from calibration.units import units  # noqa: E402
from tests.support.tiny_net import constants, copied, disc_frames, run, tiny_fp32  # noqa: E402


@pytest.fixture(scope="module")
def fp32() -> onnx.ModelProto:
    return tiny_fp32()


@pytest.fixture(scope="module")
def frames() -> list[ranges.Frame]:
    return disc_frames(6)


@pytest.fixture(scope="module")
def calibration(fp32: onnx.ModelProto, frames: list[ranges.Frame]) -> Calibration:
    return calibrated(fp32, frames, "mse")


@pytest.fixture(scope="module")
def s8(fp32: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
    return quantised(fp32, calibration, "s8")


@pytest.fixture(scope="module")
def u8(fp32: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
    return quantised(fp32, calibration, "u8")


# ------------------------------------------------------------------------------------------ the grid


def test_both_encodings_have_the_same_scales_for_the_same_tensors(u8: onnx.ModelProto, s8: onnx.ModelProto) -> None:
    one, other = constants(u8), constants(s8)
    shared = {name for name in one.keys() & other.keys() if name.endswith("/scale")}
    assert len(shared) > 40
    for name in shared:
        np.testing.assert_array_equal(one[name], other[name])
    integers = {name for name in one.keys() & other.keys() if name.endswith("weight/int")}
    assert integers
    for name in integers:
        np.testing.assert_array_equal(one[name], other[name])


def test_every_scale_is_a_float16_number(s8: onnx.ModelProto, calibration: Calibration) -> None:
    scales = [v for k, v in constants(s8).items() if k.endswith("/scale") and k != "x/scale"]
    assert all((v == v.astype(np.float16)).all() and (v > 0).all() for v in scales)
    for reach in (1e-6, 0.3, 1.0, 6.0, 231.7):
        step = float(ranges.step(reach))
        assert reach <= 127 * step <= max(1.001 * reach, 127 * 2.0**-24)


def test_the_encodings_agree_where_nothing_is_summed(
    fp32: onnx.ModelProto,
    calibration: Calibration,
    u8: onnx.ModelProto,
    s8: onnx.ModelProto,
    frames: list[ranges.Frame],
) -> None:
    """The picture, convolutions, rectifiers and upsampling are the same to the bit; only sums round differently."""
    names = [u.output for u in units(fp32) if u.is_convolution][:3]
    seen = [ranges.observed(m, [f"{n}/dq" for n in names]).run(None, {"image": frames[0]}) for m in (u8, s8)]
    for name, one, other in zip(names, *seen, strict=True):
        step = float(ranges.step(calibration.ranges[name]))
        assert (np.abs(one - other) > 0.01 * step).mean() < 1e-3


def test_agreement_on_whole_files(u8: onnx.ModelProto, s8: onnx.ModelProto, frames: list[ranges.Frame]) -> None:
    found = agreement(u8, s8, frames)
    assert found.within_one_step > 0.9
    assert found.largest_steps < 5
    assert found.dice > 0.97
    assert agreement(u8, u8, frames).largest_steps == 0


@pytest.mark.parametrize(("steps", "dice"), [(-3, 1.0), (10_000, 0.0)])
def test_agreement_counts_steps_and_marks(
    u8: onnx.ModelProto, frames: list[ranges.Frame], steps: int, dice: float
) -> None:
    """The same file with higher or lower logits. An untrained net marks no cell."""
    moved = copied(u8)
    last = next(node for node in moved.graph.node if "polyp" in node.output)
    last.output[:] = ["polyp/before"]
    by = np.array(steps * output_step(u8, "polyp"), np.float32)
    moved.graph.initializer.append(numpy_helper.from_array(by, "by"))
    moved.graph.node.append(helper.make_node("Add", ["polyp/before", "by"], ["polyp"]))
    found = agreement(u8, moved, frames)
    assert found.within_one_step == 0
    assert found.mean_steps == pytest.approx(abs(steps), abs=1e-2)
    assert found.dice == dice


def test_int8_stays_close_to_fp32(
    fp32: onnx.ModelProto, u8: onnx.ModelProto, s8: onnx.ModelProto, frames: list[ranges.Frame]
) -> None:
    wanted = run(fp32, frames[0])
    for model in (u8, s8):
        got = run(model, frames[0])
        for name in ("polyp", "features"):
            assert np.abs(wanted[name] - got[name]).mean() < 0.1 * wanted[name].std(), name


@pytest.mark.parametrize("encoding", ["fp32", "u8", "s8"])
def test_picture_quality_outputs(
    fp32: onnx.ModelProto,
    u8: onnx.ModelProto,
    s8: onnx.ModelProto,
    encoding: str,
    frames: list[ranges.Frame],
) -> None:
    """Exact wherever float is to be had; on the CPU's grid to half a level."""
    model = {"fp32": fp32, "u8": u8, "s8": s8}[encoding]
    answer = run(model, frames[1])
    rgb = frames[1][0, ..., :3].astype(np.float32)
    cells = rgb.reshape(8, 8, 8, 8, 3).mean((1, 3)).transpose(2, 0, 1)
    gridded = encoding == "u8"
    np.testing.assert_allclose(answer["thumbnail"][0], cells, atol=0.51 if gridded else 1e-3)
    luma = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    laplacian = np.abs(cv2.Laplacian(luma, cv2.CV_32F)[1::4, 1::4])
    if gridded:
        laplacian = np.minimum(laplacian, 63.5)
    wanted = laplacian.reshape(8, 2, 8, 2).mean((1, 3))
    np.testing.assert_allclose(answer["detail"][0, 0], wanted, atol=2.0 if gridded else 1e-2)


# ------------------------------------------------------------------------------------ odd nets, odd units


def with_head(model: onnx.ModelProto) -> onnx.ModelProto:
    """A small float net behind `features`, as `add-head` fuses one before quantisation."""
    model = copied(model)
    width = next(o for o in model.graph.output if o.name == "features").type.tensor_type.shape.dim[1].dim_value
    rng = np.random.default_rng(0)
    values = {
        "h/mean": rng.normal(size=width),
        "h/weight": rng.normal(size=(width, 5)) / width,
        "h/bias": rng.normal(size=5),
        "h/last": rng.normal(size=(5, 2)),
    }
    model.graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), k) for k, v in values.items())
    model.graph.node.extend(
        [
            helper.make_node("Sub", ["features", "h/mean"], ["h/0"]),
            helper.make_node("Gemm", ["h/0", "h/weight", "h/bias"], ["h/1"]),
            helper.make_node("Relu", ["h/1"], ["h/2"]),
            helper.make_node("Gemm", ["h/2", "h/last"], ["landmark"]),
        ]
    )
    model.graph.output.append(helper.make_tensor_value_info("landmark", onnx.TensorProto.FLOAT, [1, 2]))
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize("encoding", ["u8", "s8"])
def test_heads_stay_float_and_the_rest_as_it_was(
    fp32: onnx.ModelProto, calibration: Calibration, encoding: str, frames: list[ranges.Frame]
) -> None:
    headed = with_head(fp32)
    alone, together = (quantised(m, calibration, encoding) for m in (fp32, headed))
    assert {n.op_type for n in together.graph.node} >= {"Gemm", "Sub"}
    one, other, wanted = run(alone, frames[0]), run(together, frames[0]), run(headed, frames[0])
    np.testing.assert_array_equal(one["polyp"], other["polyp"])
    np.testing.assert_array_equal(one["features"], other["features"])
    assert np.abs(other["landmark"] - wanted["landmark"]).max() < 0.2
    if encoding == "s8":
        assert audited(together).violations == ()


def test_weights_stored_as_halves_are_read(fp32: onnx.ModelProto, frames: list[ranges.Frame]) -> None:
    rounded = halves.rounded(fp32)
    one, other = (
        quantised(m, calibrated(m, frames, "percentile"), "u8").SerializeToString()
        for m in (rounded, halves.halved(rounded))
    )
    assert one == other


def test_a_unit_left_in_float_is_float_with_its_weights_and_output(
    fp32: onnx.ModelProto, calibration: Calibration, frames: list[ranges.Frame]
) -> None:
    unit = [u for u in units(fp32) if u.is_convolution and u.rectifier][3]
    left = Calibration(calibration.ranges, calibration.means, (unit.output,))
    for encoding in quantize.ENCODINGS:
        model = quantised(fp32, left, encoding)
        conv = next(n for n in model.graph.node if n.output[0] == unit.node.output[0])
        np.testing.assert_array_equal(constants(model)[conv.input[1]], constants(fp32)[conv.input[1]])
        assert f"{unit.output}/q" not in {n.output[0] for n in model.graph.node}
        assert np.isfinite(run(model, frames[0])["polyp"]).all()
    found = audited(quantised(fp32, left, "s8"))
    assert found.violations == ()
    assert {one.why for one in found.convolutions if one.name == unit.node.output[0]} == {"left in float"}
    assert "input in float" in {one.why for one in found.convolutions}


def test_relu6_ends_at_six_whatever_was_calibrated(
    fp32: onnx.ModelProto, calibration: Calibration, frames: list[ranges.Frame]
) -> None:
    """Its clip is the grid's end, so a wider reach must not move it."""
    unit = next(u for u in units(fp32) if u.ceiling == 6.0)
    loud = copied(fp32)
    for constant in loud.graph.initializer:
        if constant.name in unit.node.input[1:]:
            value = numpy_helper.to_array(constant) * np.float32(50)
            constant.CopyFrom(numpy_helper.from_array(value, constant.name))
    wide = Calibration({**calibration.ranges, unit.output: 12.0})
    for encoding in quantize.ENCODINGS:
        graph = quantised(loud, wide, encoding)
        (answer,) = ranges.observed(graph, [f"{unit.output}/dq"]).run(None, {"image": frames[0]})
        assert answer.max() == pytest.approx(6.0, rel=2e-3)


def test_a_clip_that_does_not_begin_at_zero_is_no_rectifier(fp32: onnx.ModelProto) -> None:
    model = copied(fp32)
    low = next(n for n in model.graph.node if n.op_type == "Clip").input[1]
    for constant in model.graph.initializer:
        if constant.name == low:
            constant.CopyFrom(numpy_helper.from_array(np.array(-1, np.float32), low))
    assert not any(u.rectifier is not None and u.rectifier.op_type == "Clip" for u in units(model))


def test_a_channel_without_weights_keeps_its_bias(
    fp32: onnx.ModelProto, calibration: Calibration, frames: list[ranges.Frame]
) -> None:
    dead = copied(fp32)
    conv = next(u.node for u in units(dead) if u.is_convolution)
    for initialiser in dead.graph.initializer:
        if initialiser.name in (conv.input[1], conv.input[2]):
            value = numpy_helper.to_array(initialiser).copy()
            value[1] = 0.0 if initialiser.name == conv.input[1] else 1.5
            initialiser.CopyFrom(numpy_helper.from_array(value, initialiser.name))
    for encoding in quantize.ENCODINGS:
        graph = quantised(dead, Calibration(calibration.ranges), encoding)
        (answer,) = ranges.observed(graph, [conv.output[0]]).run(None, {"image": frames[0]})
        np.testing.assert_allclose(answer[0, 1], 1.5, rtol=1e-3)


def test_bias_correction_takes_the_mean_error_away() -> None:
    rng = np.random.default_rng(0)
    for groups in (1, 4):
        weight = rng.normal(size=(8, 4 // groups, 3, 3))
        picture = rng.normal(1.0, 0.5, (1, 4, 40, 40))
        convolved = torch.nn.functional.conv2d(torch.from_numpy(picture), torch.from_numpy(weight), groups=groups)
        wanted = quantize.mean_response(weight, picture.mean((0, 2, 3)))
        np.testing.assert_allclose(convolved.mean((0, 2, 3)).numpy(), wanted, atol=0.3)


# ----------------------------------------------------------------------------------------- ranges, effects


@pytest.mark.parametrize("method", sorted(ranges.METHODS))
def test_ranges_cover_the_bulk_and_never_more_than_was_seen(method: str) -> None:
    values = np.abs(np.random.default_rng(0).normal(size=100_000))
    values[0] = 40.0  # an outlier
    values[1:50_000] = 0.0  # what a rectifier leaves
    counts = np.bincount((values / 40.0 * ranges.BINS).astype(int).clip(max=ranges.BINS - 1), minlength=ranges.BINS)
    reach = ranges.METHODS[method](counts.astype(float), 40.0)
    assert 2.0 < reach <= 40.0
    assert (reach == 40.0) == (method == "min-max")


def test_entropy_keeps_a_flat_distribution_whole() -> None:
    assert ranges.entropy(np.full(ranges.BINS, 50.0), 6.0) == pytest.approx(6.0, rel=0.02)


def test_effects_name_the_worst_method_and_the_sensitive_unit(
    fp32: onnx.ModelProto, frames: list[ranges.Frame]
) -> None:
    """A range a hundred times too wide ruins one tensor: it alone is left in float, and a sane method is preferred."""
    spoilt = units(fp32)[4].output
    of_tensors = {name: {"sane": found["percentile"]} for name, found in reaches_of(fp32, frames).items()}
    of_tensors[spoilt] = {"wide": 300 * of_tensors[spoilt]["sane"]}
    means = quantize.input_means(fp32, frames)
    measured = list(sensitivity.effects(fp32, frames[:2], of_tensors, means))
    worst = max(measured, key=lambda effect: effect.noise[effect.method])
    assert worst.unit == spoilt
    others = sorted(effect.noise[effect.method] for effect in measured)[-2]
    (left,) = sensitivity.left(measured, (others + worst.noise["wide"]) / 2)
    assert left.layer == spoilt
    assert left.measured == worst.noise["wide"] > others
    assert "moves the logits" in left.reason


def reaches_of(model: onnx.ModelProto, frames: list[ranges.Frame]) -> dict[str, dict[str, float]]:
    return sensitivity.reaches(quantize.seen(model, frames))


def test_best_takes_each_tensors_method_of_least_noise(fp32: onnx.ModelProto, frames: list[ranges.Frame]) -> None:
    counted: list[int] = []
    calibration, measured = sensitivity.chosen(fp32, frames, frames[:2], done=counted.append)
    found = reaches_of(fp32, frames)
    assert counted == list(range(1, len(measured) + 1))
    for effect in measured:
        assert set(effect.noise) == set(ranges.METHODS)
        assert effect.noise[effect.method] == min(effect.noise.values())
        assert calibration.ranges[effect.unit] == found[effect.unit][effect.method]
    assert len({effect.method for effect in measured}) > 1
    assert {u.output for u in units(fp32)} == set(calibration.ranges)


# ---------------------------------------------------------------------------------------- command line


def folder_of(tmp_path: Path, count: int) -> Path:
    for kind in ("images", "masks"):
        (tmp_path / "discs" / "train" / kind).mkdir(parents=True)
    for index, frame in enumerate(disc_frames(count, seed=7)):
        mask = np.where(frame[0, ..., 0] == 230, 255, 0).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "discs" / "train" / "images" / f"{index}.png"), frame[0, ..., 2::-1])
        cv2.imwrite(str(tmp_path / "discs" / "train" / "masks" / f"{index}.png"), mask)
    return tmp_path / "discs"


def test_the_command_writes_its_files_and_a_report(fp32: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(fp32, str(tmp_path / "fp32.onnx"))
    data, out = str(folder_of(tmp_path, 16)), tmp_path / "out"
    arguments = ["quantize", str(tmp_path / "fp32.onnx"), str(out), "--data", "folder", data]
    assert main([*arguments, "--method", "best"]) == 0
    files = {"int8.onnx", "int8_trt.onnx", "fp16_trt.onnx"}
    assert {p.name for p in out.iterdir()} == {*files, "quantize.json"}
    report = json.loads((out / "quantize.json").read_text())
    assert report["pictures"] == 16
    assert report["tensorrt"]["violations"] == []
    assert report["agreement"]["within_one_step"] > 0.8
    measured = [t for t in report["tensors"] if t["noise"]]
    assert len(measured) == len(units(fp32)) - 2
    for name in files:
        assert "polyp" in run(onnx.load(str(out / name)), disc_frames(1)[0])


@pytest.mark.parametrize(("pictures", "asked"), [(15, 64), (16, 8)])
def test_too_few_pictures_are_refused_before_anything_is_written(
    fp32: onnx.ModelProto, tmp_path: Path, capsys: pytest.CaptureFixture[str], pictures: int, asked: int
) -> None:
    onnx.save(fp32, str(tmp_path / "fp32.onnx"))
    data = str(folder_of(tmp_path, pictures))
    paths = [str(tmp_path / "fp32.onnx"), str(tmp_path / "out")]
    assert main(["quantize", *paths, "--data", "folder", data, "--pictures", str(asked)]) == 1
    error = capsys.readouterr().err
    assert f"calibration set too small: {pictures} training pictures" in error
    assert "expected 16 or more" in error
    assert not (tmp_path / "out").exists()
