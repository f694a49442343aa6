"""What quantising each unit alone does to the polyp logits: picks each tensor's range, names what must stay in float.

One unit at a time is put on its grid, weights and output, in an otherwise FP32 net. Its noise is the root mean square
change of the logits as a share of the logits' own standard deviation, on calibration pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from calibration.export import SCALE
from calibration.halves import whole
from calibration.quantize import FIXED, Calibration, input_means, rounded, seen
from calibration.ranges import METHODS, Frame, Histogram, observed, step
from calibration.units import Unit, units

GATE = 0.05  # noise; a unit that alone disturbs the logits as much as a whole good net does is left in float
BEST = "best"  # each tensor's own method, the one of least noise
JUDGED, STEP = "polyp", "step"


@dataclass(frozen=True)
class Effect:
    """A unit's noise by range method."""

    unit: str
    noise: Mapping[str, float]

    @property
    def method(self) -> str:
        """The range method of least noise."""
        return min(self.noise, key=lambda method: self.noise[method])


@dataclass(frozen=True)
class Left:
    """A unit that stays in float, and why."""

    layer: str
    reason: str
    measured: float


def reaches(seen: Mapping[str, tuple[Histogram, float]]) -> dict[str, dict[str, float]]:
    """Every tensor's reach by every method."""
    return {name: {method: cut(*counts) for method, cut in METHODS.items()} for name, counts in seen.items()}


def probe(
    model: onnx.ModelProto, unit: Unit, input_scale: np.float32, means: NDArray[np.float64] | None
) -> onnx.ModelProto:
    """The FP32 net with one unit's constants rounded and its output on a grid whose step is the input `step`."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    graph = probed.graph
    if unit.is_convolution:
        constants = {i.name: i for i in graph.initializer}
        weight, *bias = (constants[name] for name in unit.node.input[1:])
        of_bias = numpy_helper.to_array(bias[0]) if bias else np.zeros(weight.dims[0], np.float32)
        floats = rounded(numpy_helper.to_array(weight), of_bias, input_scale, means).floats()
        for constant, value in zip((weight, *bias), floats, strict=False):
            constant.CopyFrom(numpy_helper.from_array(value, constant.name))
    name, raw = unit.output, f"{unit.output}/raw"
    at, maker = next((i, node) for i, node in enumerate(graph.node) if name in node.output)
    maker.output[:] = [raw]
    graph.initializer.append(numpy_helper.from_array(np.zeros((), np.int8), "probe/zero"))
    graph.node.insert(at + 1, helper.make_node("QuantizeLinear", [raw, STEP, "probe/zero"], [f"{name}/q"]))
    graph.node.insert(at + 2, helper.make_node("DequantizeLinear", [f"{name}/q", STEP, "probe/zero"], [name]))
    graph.input.append(helper.make_tensor_value_info(STEP, TensorProto.FLOAT, []))
    return probed


def effects(
    model: onnx.ModelProto,
    frames: Sequence[Frame],
    reaches: Mapping[str, Mapping[str, float]],
    means: Mapping[str, NDArray[np.float64]],
) -> Iterator[Effect]:
    """Each unit's noise by each method of `reaches`, in the graph's order. One session a unit, so it takes a while."""
    session = observed(model, [JUDGED])
    wanted = [session.run(None, {"image": frame})[0] for frame in frames]
    deviation = max(float(np.std(np.stack(wanted))), 1e-9)
    for unit in units(model):
        if unit.output in FIXED:
            continue
        source = unit.node.input[0]
        input_scale = step(max(reaches[source].values())) if source in reaches else SCALE
        session = observed(probe(model, unit, input_scale, means.get(source)), [JUDGED])

        def noise(reach: float) -> float:
            feeds = {STEP: np.asarray(step(reach))}
            changes = [
                session.run(None, {"image": frame, **feeds})[0] - logits  # noqa: B023 - called in this turn only
                for frame, logits in zip(frames, wanted, strict=True)
            ]
            return float(np.sqrt(np.mean(np.square(changes)))) / deviation

        yield Effect(unit.output, {method: noise(reach) for method, reach in reaches[unit.output].items()})


def left(measured: Iterable[Effect], gate: float = GATE) -> list[Left]:
    """The units to leave in float."""
    return [
        Left(effect.unit, f"alone it moves the logits by more than {gate:g} of their deviation", noise)
        for effect in measured
        if (noise := effect.noise[effect.method]) > gate
    ]


def chosen(
    model: onnx.ModelProto,
    frames: Sequence[Frame],
    judged: Sequence[Frame],
    method: str = BEST,
    gate: float = GATE,
    done: Callable[[int], None] = lambda _count: None,
) -> tuple[Calibration, list[Effect]]:
    """A calibration on `frames` whose range methods and units left in float come of effects measured on `judged`.

    `method` BEST takes each tensor's own; any other is used throughout, and effects decide only what is left in float.
    `done(count)` is called after every unit.
    """
    model = whole(model)
    means = input_means(model, frames)
    of_tensors = reaches(seen(model, frames))
    if method != BEST:
        of_tensors = {name: {method: by_method[method]} for name, by_method in of_tensors.items()}
    measured = []
    for effect in effects(model, judged, of_tensors, means):
        measured.append(effect)
        done(len(measured))
    ranges = {effect.unit: of_tensors[effect.unit][effect.method] for effect in measured}
    return Calibration({**ranges, **FIXED}, means, tuple(one.layer for one in left(measured, gate))), measured
