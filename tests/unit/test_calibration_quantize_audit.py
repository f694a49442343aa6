"""What each runtime fuses; an audit by TensorRT's rules finds what breaks them; the typed file is FP16 where it can."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

pytest.importorskip("torch", reason="the calibration extra is not installed")

from calibration import halves, quantize, ranges
from calibration.audit import audited
from calibration.datasets import phantom
from calibration.eval.runner import Runner
from calibration.parity import agreement
from calibration.pictures import rgb
from calibration.quantize import calibrated, quantised
from calibration.strong_types import in_halves
from calibration.units import units
from edge.errors import ModelError
from tests.support.tiny_net import constants, copied, disc_frames, run, tiny_fp32

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
RELEASED = ROOT / "models" / "polyp-mobilenetv2-256" / "fp32.onnx"


@pytest.fixture(scope="module")
def frames() -> list[ranges.Frame]:
    return disc_frames(6)


@pytest.fixture(scope="module")
def fp32() -> onnx.ModelProto:
    return tiny_fp32()


@pytest.fixture(scope="module")
def s8(fp32: onnx.ModelProto, frames: list[ranges.Frame]) -> onnx.ModelProto:
    return quantised(fp32, calibrated(fp32, frames, "mse"), "s8")


@pytest.fixture(scope="module")
def u8(fp32: onnx.ModelProto, frames: list[ranges.Frame]) -> onnx.ModelProto:
    return quantised(fp32, calibrated(fp32, frames, "mse"), "u8")


# ------------------------------------------------------------------------------- what each runtime fuses


def test_u8_has_zero_point_128_and_int8_weights_per_channel(u8: onnx.ModelProto) -> None:
    of_file = constants(u8)
    made_by = {node.output[0]: node for node in u8.graph.node}
    activations = {n.input[2] for n in u8.graph.node if n.op_type == "QuantizeLinear"}
    assert {(str(of_file[name].dtype), int(of_file[name])) for name in activations} == {("uint8", 128)}
    for conv in (n for n in u8.graph.node if n.op_type == "Conv"):
        source, weight, bias = (made_by[name] for name in conv.input)
        integers = of_file[weight.input[0]]
        assert source.op_type == "DequantizeLinear"
        assert integers.dtype == np.int8
        assert of_file[weight.input[1]].shape == (len(integers),)
        assert of_file[bias.input[0]].dtype == np.int32


def test_onnx_runtime_runs_every_convolution_in_int8(
    u8: onnx.ModelProto, frames: list[ranges.Frame], tmp_path: Path
) -> None:
    path = tmp_path / "optimised.onnx"
    run(u8, frames[0], optimized_model_filepath=str(path))
    operations = [node.op_type for node in onnx.load(str(path)).graph.node]
    assert operations.count("QLinearConv") == sum(n.op_type == "Conv" for n in tiny_fp32().graph.node)
    assert "Conv" not in operations
    assert "Relu" not in operations
    assert operations.count("QLinearAdd") == sum(not u.is_convolution for u in units(tiny_fp32()))


def test_s8_obeys_tensorrts_rules(s8: onnx.ModelProto) -> None:
    found = audited(s8)
    assert found.violations == ()
    in_float = {one.name: one.why for one in found.convolutions if not one.int8}
    assert set(in_float.values()) == {"fewer than 16 channels"}
    assert len(in_float) == 4  # first, last, and the two that measure the picture


def test_the_released_file_obeys_them_too() -> None:
    assert audited(onnx.load(str(RELEASED.with_name("int8_trt.onnx")))).violations == ()


def broken_sum(model: onnx.ModelProto) -> None:
    """Put the float addend of the first fused sum on a grid."""
    made_by = {node.output[0]: node for node in model.graph.node}
    add = next(
        n
        for n in model.graph.node
        if n.op_type == "Add" and "Conv" in [made_by[i].op_type for i in n.input if i in made_by]
    )
    at = list(model.graph.node).index(add)
    index = next(i for i, name in enumerate(add.input) if made_by[name].op_type == "Conv")
    grid = next(list(n.input[1:]) for n in model.graph.node if n.op_type == "QuantizeLinear")
    added = [
        helper.make_node("QuantizeLinear", [add.input[index], *grid], ["bad/q"]),
        helper.make_node("DequantizeLinear", ["bad/q", *grid], ["bad/dq"]),
    ]
    for offset, node in enumerate(added):
        model.graph.node.insert(at + offset, node)
    model.graph.node[at + 2].input[index] = "bad/dq"


def broken_zero(model: onnx.ModelProto) -> None:
    zero = next(i for i in model.graph.initializer if i.name == "zero")
    zero.CopyFrom(numpy_helper.from_array(np.int8(3), "zero"))


def broken_axis(model: onnx.ModelProto) -> None:
    weight = next(n for n in model.graph.node if n.output[0].endswith("/weight"))
    weight.attribute[0].i = 1


def broken_bias(model: onnx.ModelProto) -> None:
    conv = next(n for n in model.graph.node if n.op_type == "Conv" and n.input[1].endswith("/weight"))
    at = list(model.graph.node).index(conv)
    bias = conv.input[2]
    channels = constants(model)[bias].shape[0]
    for name, value in (("i", np.int32), ("s", np.float32), ("z", np.int32)):
        array = np.ones(channels, value) if name == "s" else np.zeros(channels, value)
        model.graph.initializer.append(numpy_helper.from_array(array, f"bias/{name}"))
    model.graph.node.insert(
        at, helper.make_node("DequantizeLinear", ["bias/i", "bias/s", "bias/z"], ["bias/dq"], axis=0)
    )
    conv.input[2] = "bias/dq"


def broken_output(model: onnx.ModelProto) -> None:
    """Quantise an output that nothing reads in INT8."""
    last = next(n for n in model.graph.node if n.output[0] == "detail")
    last.output[0] = "detail/raw"
    grid = next(list(n.input[1:]) for n in model.graph.node if n.op_type == "QuantizeLinear")
    model.graph.node.append(helper.make_node("QuantizeLinear", ["detail/raw", *grid], ["detail/q"]))
    model.graph.node.append(helper.make_node("DequantizeLinear", ["detail/q", *grid], ["detail"]))


def broken_rectifier(model: onnx.ModelProto) -> None:
    """A second rectifier behind the DQ."""
    dq = next(n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.output[0].endswith("/dq"))
    at = list(model.graph.node).index(dq)
    name = dq.output[0]
    dq.output[0] = f"{name}/early"
    model.graph.node.insert(at + 1, helper.make_node("Relu", [f"{name}/early"], [name]))


def broken_front(model: onnx.ModelProto) -> None:
    """Move the bytes before they are cast."""
    cast, move = model.graph.node[:2]
    assert (cast.op_type, move.op_type) == ("Cast", "Transpose")
    cast.input[0], cast.output[0], move.input[0], move.output[0] = "moved", "planes", "image", "moved"
    swapped = [onnx.NodeProto(), onnx.NodeProto()]
    swapped[0].CopyFrom(move)
    swapped[1].CopyFrom(cast)
    cast.CopyFrom(swapped[0])
    move.CopyFrom(swapped[1])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (broken_front, "image: its bytes are read by Transpose, expected Cast"),
        (broken_sum, "both addends quantised"),
        (broken_zero, "zero point 3 of int8, expected int8 0"),
        (broken_axis, r"on axis 1, expected \(\d+,\) on axis 0"),
        (broken_bias, "quantised bias"),
        (broken_output, "output of AveragePool is quantised"),
        (broken_output, "no INT8 operation reads it"),
        (broken_rectifier, "quantised before its rectifier"),
    ],
)
def test_the_audit_finds_a_broken_rule(s8: onnx.ModelProto, harm, said: str) -> None:  # type: ignore[no-untyped-def]
    model = copied(s8)
    harm(model)
    assert any(re.search(said, line) for line in audited(model).violations), audited(model).violations


def test_the_audit_refuses_the_cpus_encoding(u8: onnx.ModelProto) -> None:
    assert any("uint8" in line for line in audited(u8).violations)


# --------------------------------------------------------------------------------------------- in halves


def test_in_halves_is_float16_on_the_way_to_the_masks(fp32: onnx.ModelProto) -> None:
    typed = in_halves(fp32)
    assert audited(typed).violations == ()
    assert [o.type.tensor_type.elem_type for o in typed.graph.output] == [onnx.TensorProto.FLOAT] * 4
    assert typed.graph.input == fp32.graph.input
    of_file = constants(typed)
    for node in typed.graph.node:
        assert node.op_type not in ("QuantizeLinear", "DequantizeLinear")
        if node.op_type == "Conv" and len(node.input) > 2:
            assert of_file[node.input[2]].dtype == np.float16
        if node.op_type in ("ReduceMean", "Concat") or node.output[0] in quantize.FIXED:
            assert not any(name.endswith("/fp16") for name in node.input)


def test_in_halves_agrees_with_the_net(fp32: onnx.ModelProto, frames: list[ranges.Frame]) -> None:
    for frame in frames[:2]:
        one, other = run(fp32, frame), run(in_halves(fp32), frame)
        for name in one:
            assert np.abs(one[name] - other[name]).mean() < 0.01 * max(one[name].std(), 1.0), name


def test_a_constant_beyond_float16_is_named(fp32: onnx.ModelProto) -> None:
    model = copied(fp32)
    bias = next(n for n in model.graph.node if n.op_type == "Conv" and len(n.input) > 2).input[2]
    for constant in model.graph.initializer:
        if constant.name == bias:
            constant.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constant) + np.float32(1e5), bias))
    with pytest.raises(ModelError, match=r"does not fit float16"):
        in_halves(model)


# ---------------------------------------------------------------------------------- the released model


def phantom_frames(runner: Runner) -> list[ranges.Frame]:
    return [runner.frame(sample.picture) for sample in phantom.samples(31, 4, 256)]


def real_frames(runner: Runner) -> list[ranges.Frame]:
    paths = sorted((DATA / "kvasir_seg" / "val" / "images").glob("*"))[:8]
    if not paths:
        pytest.skip("no ../shared/data/kvasir_seg beside this folder")
    return [runner.frame(rgb(path)) for path in paths]


@pytest.mark.skipif(not RELEASED.is_file(), reason="no released model here")
@pytest.mark.parametrize("pictures", [phantom_frames, real_frames])
def test_the_released_net_in_both_encodings(pictures: Callable[[Runner], list[ranges.Frame]]) -> None:
    """Bit for bit they cannot agree: S8 rounds once less in every sum, and kernels break ties otherwise."""
    runner = Runner(RELEASED, threads=1)
    frames = pictures(runner)
    model = halves.whole(onnx.load(str(RELEASED)))
    calibration = calibrated(model, frames, "mse")
    u8, s8 = (quantised(model, calibration, encoding) for encoding in ("u8", "s8"))
    found = audited(s8)
    assert found.violations == ()
    assert {one.why for one in found.convolutions if not one.int8} == {"fewer than 16 channels"}
    assert sum(one.int8 for one in found.convolutions) >= 0.9 * len(found.convolutions)
    apart = agreement(u8, s8, frames)
    assert apart.within_one_step > 0.6
    assert apart.mean_steps < 1.2
    assert apart.dice > 0.97


def test_the_float_model_in_halves_is_the_float_model() -> None:
    """Of the released one: what TensorRT is to run where 8 bits are not faster."""
    fp32 = onnx.load(str(RELEASED))
    halves = in_halves(fp32)
    made = {node.op_type for node in halves.graph.node}
    assert not made & {"QuantizeLinear", "DequantizeLinear"}  # TensorRT has none whose zero point is 128
    convolutions = [node for node in halves.graph.node if node.op_type == "Conv"]
    kinds = {constant.name: constant.data_type for constant in halves.graph.initializer}
    in_fp16 = [node for node in convolutions if kinds[node.input[1]] == onnx.TensorProto.FLOAT16]
    assert len(in_fp16) > 0.9 * len(convolutions)
    with np.load(RELEASED.with_name("golden.npz")) as golden:
        frame = golden["image"][:1]
    wanted, found = (run(each, frame) for each in (fp32, halves))
    assert {name: value.dtype for name, value in found.items()} == dict.fromkeys(wanted, np.dtype(np.float32))
    assert np.abs(found["polyp"] - wanted["polyp"]).max() < 0.2  # logits that reach 16
    assert np.array_equal(found["thumbnail"], wanted["thumbnail"])
