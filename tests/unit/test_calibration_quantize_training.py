"""Fine-tuning with fake quantisation: the same grid in torch, and a net that it saves."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

torch = pytest.importorskip("torch", reason="the calibration extra is not installed")

from calibration import qat, ranges  # noqa: E402
from calibration.parity import agreement  # noqa: E402
from calibration.quantize import Calibration, calibrated, quantised, rounded  # noqa: E402
from calibration.student import normalised  # noqa: E402
from calibration.units import readers, units  # noqa: E402
from edge.errors import ModelError  # noqa: E402
from tests.support.tiny_net import disc_frames, tiny_fp32  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads that wait for each other on a busy machine take ten times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def frames() -> list[ranges.Frame]:
    return disc_frames(16)


def logits(model: onnx.ModelProto, frames: list[ranges.Frame]) -> np.ndarray:
    session = ranges.observed(model, ["polyp"])
    return np.stack([session.run(None, {"image": frame})[0] for frame in frames])


def constant(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(i for i in model.graph.initializer if i.name == name)


def change(model: onnx.ModelProto, name: str, index: object, by: float) -> None:
    tensor = constant(model, name)
    value = numpy_helper.to_array(tensor).copy()
    value[index] *= by
    tensor.CopyFrom(numpy_helper.from_array(value, name))


@pytest.fixture(scope="module")
def fp32(frames: list[ranges.Frame]) -> onnx.ModelProto:
    """The tiny net with half of all cells marked, so that a mask means something."""
    model = onnx.ModelProto()
    model.CopyFrom(tiny_fp32())
    tensor = constant(model, "student.logits.bias")
    bias = numpy_helper.to_array(tensor) - np.float32(np.median(logits(model, frames)))
    tensor.CopyFrom(numpy_helper.from_array(bias, tensor.name))
    return model


@pytest.fixture(scope="module")
def uneven(fp32: onnx.ModelProto) -> onnx.ModelProto:
    """The same function, badly made for a grid: one channel of each decoder map is 200 times as loud as the others."""
    model = onnx.ModelProto()
    model.CopyFrom(fp32)
    read_by = readers(model)
    for unit in units(model):
        plain = unit.is_convolution and unit.rectifier is not None and unit.rectifier.op_type == "Relu"
        if plain and [n.op_type for n in read_by[unit.output]] == ["Conv"]:
            for name in unit.node.input[1:]:
                change(model, name, 0, 200.0)
            change(model, read_by[unit.output][0].input[1], np.s_[:, 0], 1 / 200)
    return model


def test_the_net_in_torch_answers_as_onnx_runtime(fp32: onnx.ModelProto, frames: list[ranges.Frame]) -> None:
    calibration = calibrated(fp32, frames, "mse", correct_bias=False)
    net = qat.Net(fp32, calibration)
    assert net.outputs == list(qat.TAUGHT)
    x = normalised(torch.from_numpy(frames[0]).permute(0, 3, 1, 2))
    with torch.no_grad():
        plain, on_grid = net(x, quantise=False), net(x, quantise=True)
    for model, answers, tolerance in ((fp32, plain, 1e-4), (quantised(fp32, calibration, "u8"), on_grid, 0.05)):
        made = {name for node in model.graph.node for name in node.output}
        names = [f"{name}/dq" if f"{name}/dq" in made else name for name in net.outputs]
        wanted = ranges.observed(model, names).run(None, {"image": frames[0]})
        for got, want in zip(answers, wanted, strict=True):
            assert np.abs(got.numpy() - want).mean() <= tolerance * want.std()


def test_fake_quantisation_is_the_writers(frames: list[ranges.Frame]) -> None:
    weight = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(3))
    wanted, _ = rounded(weight.numpy(), np.zeros(8, np.float32), np.float32(0.1)).floats()
    # The writer's scales are float16 numbers, up to a thousandth wider.
    np.testing.assert_allclose(qat.weight_on_grid(weight).numpy(), wanted, atol=float(weight.abs().max()) / 127)
    values = torch.tensor([-500.0, -1.26, -0.24, 0.26, 1.0, 500.0])
    assert qat.on_grid(values, torch.tensor(0.5)).tolist() == [-64.0, -1.5, -0.0, 0.5, 1.0, 63.5]


def test_gradients_pass_the_rounding_and_stop_at_the_ends() -> None:
    values = torch.tensor([-500.0, 0.3, 0.6, 500.0], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    qat.on_grid(values, scale).sum().backward()
    assert values.grad.tolist() == [0.0, 1.0, 1.0, 0.0]
    # LSQ: inside round(v/s) - v/s, outside the end itself.
    assert float(scale.grad) == pytest.approx(-128 + (1 - 0.6) + (1 - 1.2) + 127, abs=1e-5)


@pytest.mark.parametrize(
    ("fp32", "int8", "trains"), [(0.90, 0.896, False), (0.90, 0.894, True), (0.90, 0.91, False), (0.5, 0.0, True)]
)
def test_the_gate(fp32: float, int8: float, trains: bool) -> None:
    assert qat.needs_training(fp32, int8) is trains


def test_what_rounding_alone_ruins_fine_tuning_recovers(
    fp32: onnx.ModelProto, uneven: onnx.ModelProto, frames: list[ranges.Frame]
) -> None:
    """End to end through the writer, on pictures that were not trained on."""
    unseen = disc_frames(8, seed=99)
    np.testing.assert_allclose(logits(uneven, unseen), logits(fp32, unseen), atol=1e-2)
    naive = calibrated(uneven, frames, "min-max")
    losses: list[float] = []
    schedule = qat.Schedule(steps=80, weight_rate=1e-3, reach_rate=0.05)
    tuned, learnt = qat.fine_tuned(uneven, naive, frames, schedule, lambda _step, loss: losses.append(loss))
    wanted = logits(fp32, unseen)
    for encoding in ("u8", "s8"):
        before, after = (
            float(np.abs(logits(quantised(m, c, encoding), unseen) - wanted).mean() / wanted.std())
            for m, c in ((uneven, naive), (tuned, learnt))
        )
        assert after < 0.65 * before, encoding
    assert dice(quantised(tuned, learnt, "u8"), wanted, unseen) > dice(quantised(uneven, naive, "u8"), wanted, unseen)
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])
    assert agreement(quantised(tuned, learnt, "u8"), quantised(tuned, learnt, "s8"), unseen).dice > 0.9


def dice(model: onnx.ModelProto, wanted: np.ndarray, frames: list[ranges.Frame]) -> float:
    found, truth = logits(model, frames) > 0, wanted > 0
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def test_units_left_in_float_stay_so(fp32: onnx.ModelProto, frames: list[ranges.Frame]) -> None:
    found = calibrated(fp32, frames, "percentile")
    left = next(u.output for u in units(fp32) if u.is_convolution)
    tuned, learnt = qat.fine_tuned(fp32, Calibration(found.ranges, {}, (left,)), frames, qat.Schedule(steps=2))
    assert learnt.left == (left,)
    assert learnt.ranges[left] == found.ranges[left]
    assert f"{left}/q" not in {n.output[0] for n in quantised(tuned, learnt, "s8").graph.node}


def test_a_reach_never_passes_its_rectifiers_ceiling(fp32: onnx.ModelProto, frames: list[ranges.Frame]) -> None:
    found = calibrated(fp32, frames, "min-max", correct_bias=False)
    wide = Calibration(dict.fromkeys(found.ranges, 100.0))
    reaches = qat.Net(fp32, wide).reaches()
    for unit in units(fp32):
        assert reaches.get(unit.output, 0.0) <= min(unit.ceiling, 100.1)


def test_a_loss_that_is_no_number_stops_it(fp32: onnx.ModelProto, frames: list[ranges.Frame]) -> None:
    found = calibrated(fp32, frames, "min-max", correct_bias=False)
    broken = Calibration({**found.ranges, units(fp32)[0].output: math.nan})
    with pytest.raises(ModelError, match="step 1: the loss is nan"):
        qat.fine_tuned(fp32, broken, frames, qat.Schedule(steps=3))


def test_an_operation_it_does_not_know_is_named(fp32: onnx.ModelProto) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(fp32)
    next(n for n in model.graph.node if n.op_type == "DepthToSpace").op_type = "SpaceToDepth"
    with pytest.raises(ModelError, match="polyp: SpaceToDepth cannot be fine-tuned"):
        qat.Net(model, Calibration({u.output: 1.0 for u in units(fp32)}))
