"""Fine-tuning with fake quantisation, for a net that loses more than GATE Dice when it is merely rounded.

The exported FP32 net is run in torch node by node, with every unit's output and every convolution's weights rounded as
quantize.py rounds them (the CPU's placement, which rounds most). Gradients pass the rounding as if it were not there,
weights and reaches learn together, and what they learn is to answer as the FP32 net does: no labels are needed. The
encoder's maps are among the answers, since heads stand on them. The result goes through the same writer as any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from calibration.halves import whole
from calibration.quantize import Calibration
from calibration.ranges import LEVELS, Frame
from calibration.student import normalised
from calibration.units import units
from edge.errors import ModelError

GATE = 0.005  # Dice; more than this must not be lost to INT8
TAUGHT = ("polyp", "level4", "level8", "level16", "level32")  # tensors that are to stay as they were


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. Rates rise for a tenth of the steps, then fall to nothing along a cosine."""

    steps: int = 300
    batch: int = 8
    weight_rate: float = 1e-5
    reach_rate: float = 2e-3  # of the logarithm of the reach
    seed: int = 1

    def share(self, step: int) -> float:
        """Of the full rates, at a step counted from 0."""
        warm = max(self.steps // 10, 1)
        return min((step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * step / self.steps))


def needs_training(fp32_dice: float, int8_dice: float, gate: float = GATE) -> bool:
    """Does rounding alone lose more than the gate allows?"""
    return fp32_dice - int8_dice > gate


def straight_through(value: Tensor, rounded: Tensor) -> Tensor:
    """`rounded` forwards, `value` backwards."""
    return value + (rounded - value).detach()


def on_grid(value: Tensor, scale: Tensor) -> Tensor:
    """Rounded to whole steps and saturated as int8 is. The scale's gradient is LSQ's (Esser et al. 2020)."""
    steps = (value / scale).clamp(-LEVELS - 1, LEVELS)
    return straight_through(steps, steps.round()) * scale


def weight_on_grid(weight: Tensor) -> Tensor:
    """Each output channel on its own grid, whose reach is the channel's largest weight."""
    reach = weight.detach().flatten(1).abs().amax(1).clamp_min(1e-8)
    return on_grid(weight, (reach / LEVELS).reshape(-1, 1, 1, 1))


class Net(nn.Module):
    """An exported FP32 net from `x` to TAUGHT. Parameters: its convolutions' constants, and the reach of every unit."""

    def __init__(self, model: onnx.ModelProto, calibration: Calibration) -> None:
        super().__init__()
        made = {name for node in model.graph.node for name in node.output}
        self.outputs = [name for name in TAUGHT if name in made]
        self.nodes = _leading_to(model, self.outputs)
        of_file = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        read = {name for node in self.nodes for name in node.input if name in of_file}
        self.constants = {name: torch.from_numpy(of_file[name].copy()) for name in read}
        self.learnt = sorted({name for n in self.nodes if n.op_type == "Conv" for name in n.input[1:]})
        self.weights = nn.ParameterList(nn.Parameter(self.constants[name]) for name in self.learnt)
        run = {name for node in self.nodes for name in node.output}
        of_units = [u for u in units(model) if u.output in run]
        self.tensors = [u.output for u in of_units if u.output not in calibration.left]
        self.float_nodes = {u.node.output[0] for u in of_units if u.output in calibration.left}
        start = [math.log(calibration.ranges[name]) for name in self.tensors]
        self.log_reach = nn.Parameter(torch.tensor(start, dtype=torch.float32))
        self.ceilings = torch.tensor([u.ceiling for u in of_units if u.output in self.tensors])

    def reach(self) -> Tensor:
        """Of every unit, never beyond its rectifier's ceiling: INT8 clips there by saturating."""
        return torch.minimum(self.log_reach.exp(), self.ceilings)

    def reaches(self) -> dict[str, float]:
        return dict(zip(self.tensors, self.reach().tolist(), strict=True))

    def forward(self, x: Tensor, quantise: bool) -> list[Tensor]:
        """`x` float (N, 4, S, S) to the outputs in their order."""
        values = {**self.constants, **dict(zip(self.learnt, self.weights, strict=True)), "x": x}
        scales = dict(zip(self.tensors, (self.reach() / LEVELS).unbind(), strict=True)) if quantise else {}
        for node in self.nodes:
            inputs = [values[name] for name in node.input if name]
            if quantise and node.op_type == "Conv" and node.output[0] not in self.float_nodes:
                inputs[1] = weight_on_grid(inputs[1])
            name = node.output[0]
            value = OPERATIONS[node.op_type](inputs, _attributes(node))
            values[name] = on_grid(value, scales[name]) if name in scales else value
        return [values[name] for name in self.outputs]


def _leading_to(model: onnx.ModelProto, outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes between `x` and the outputs, in order. ModelError for an operation that is not in OPERATIONS."""
    wanted, found = set(outputs), []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output) and "x" not in node.output and node.output[0] != "planes":
            if node.op_type not in OPERATIONS:
                raise ModelError(f"{node.output[0]}: {node.op_type} cannot be fine-tuned (no such operation in qat.py)")
            wanted.update(node.input)
            found.append(node)
    return found[::-1]


Attributes = Mapping[str, object]


def _attributes(node: onnx.NodeProto) -> Attributes:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _pair(attributes: Attributes, name: str, default: int) -> tuple[int, int]:
    """Two numbers; of four paddings the first two, which are the last two in everything that is exported."""
    value = attributes.get(name)
    first, second = list(value)[:2] if isinstance(value, Sequence) else (default, default)
    return int(first), int(second)


def _convolution(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x, weight, *bias = inputs
    stride, padding, dilation = (
        _pair(attributes, name, default) for name, default in (("strides", 1), ("pads", 0), ("dilations", 1))
    )
    groups = int(str(attributes.get("group", 1)))
    return F.conv2d(x, weight, bias[0] if bias else None, stride, padding, dilation, groups)


def _clip(inputs: Sequence[Tensor], _: Attributes) -> Tensor:
    x, low, high = inputs
    return x.clamp(float(low), float(high))


OPERATIONS: dict[str, Callable[[Sequence[Tensor], Attributes], Tensor]] = {
    "Conv": _convolution,
    "Clip": _clip,
    "Relu": lambda inputs, _: inputs[0].relu(),
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    "Resize": lambda inputs, _: F.interpolate(inputs[0], scale_factor=[float(v) for v in inputs[1][2:]]),
    "DepthToSpace": lambda inputs, attributes: F.pixel_shuffle(inputs[0], int(str(attributes["blocksize"]))),
}


def _batch(frames: Sequence[Frame], schedule: Schedule, rng: np.random.Generator) -> Tensor:
    """A random batch, flipped at random, as the net's `x`."""
    chosen = rng.choice(len(frames), min(schedule.batch, len(frames)), replace=False)
    pictures = torch.from_numpy(np.concatenate([frames[i] for i in chosen])).permute(0, 3, 1, 2)
    flips = [axis for axis in (2, 3) if rng.random() < 0.5]
    return normalised(pictures.flip(flips) if flips else pictures)


def difference(answers: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Smooth L1 of every answer in units of its own deviation, summed."""
    pairs = zip(answers, wanted, strict=True)
    return torch.stack([F.smooth_l1_loss(a / d, w / d) for a, w in pairs for d in [w.std() + 1e-6]]).sum()


def fine_tuned(
    model: onnx.ModelProto,
    calibration: Calibration,
    frames: Sequence[Frame],
    schedule: Schedule | None = None,
    done: Callable[[int, float], None] = lambda _step, _loss: None,
) -> tuple[onnx.ModelProto, Calibration]:
    """The net and the calibration from which `quantised` writes the fine-tuned INT8 files.

    `done(step, loss)` is called after every step. Raises ModelError when the loss is no number.
    """
    schedule = schedule or Schedule()
    model = whole(model)
    torch.manual_seed(schedule.seed)
    rng = np.random.default_rng(schedule.seed)
    teacher, net = Net(model, calibration).requires_grad_(False), Net(model, calibration)
    groups = [
        {"params": list(net.weights), "lr": schedule.weight_rate},
        {"params": [net.log_reach], "lr": schedule.reach_rate},
    ]
    optimiser = torch.optim.Adam(groups)
    rates = torch.optim.lr_scheduler.LambdaLR(optimiser, schedule.share)
    for step in range(1, schedule.steps + 1):
        x = _batch(frames, schedule, rng)
        with torch.no_grad():
            wanted = teacher(x, quantise=False)
        loss = difference(net(x, quantise=True), wanted)
        if not torch.isfinite(loss):
            raise ModelError(f"fine-tuning step {step}: the loss is {loss.item()}, so it was stopped")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        rates.step()
        done(step, loss.item())
    return _with_weights(model, net), Calibration({**calibration.ranges, **net.reaches()}, {}, calibration.left)


def _with_weights(model: onnx.ModelProto, net: Net) -> onnx.ModelProto:
    tuned = onnx.ModelProto()
    tuned.CopyFrom(model)
    constants = {i.name: i for i in tuned.graph.initializer}
    for name, value in zip(net.learnt, net.weights, strict=True):
        constants[name].CopyFrom(numpy_helper.from_array(value.detach().numpy(), name))
    return tuned
