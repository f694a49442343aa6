"""The dense encoder: what it folds to, what it costs, and how multiply-accumulates are counted."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch", reason="the calibration extra is not installed")

from calibration import encoders  # noqa: E402
from calibration.encoders.repdense import LEVELS, RepDense, Unit  # noqa: E402
from calibration.gmac import gmac  # noqa: E402
from calibration.student import Student, folded  # noqa: E402
from edge.errors import ModelError  # noqa: E402


def used(net: torch.nn.Module) -> torch.nn.Module:
    """A net whose batch statistics, scales and shifts are not a fresh net's zeros and ones, in eval mode."""
    rng = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for name, value in module.state_dict().items():
                if value.is_floating_point():
                    drawn = torch.rand(value.shape, generator=rng).to(value)
                    value.copy_(0.5 + drawn if name in ("weight", "running_var") else drawn - 0.5)
    return net.eval()


@pytest.mark.parametrize(("outputs", "stride"), [(6, 1), (6, 2), (9, 1)])
@torch.no_grad()
def test_a_unit_folds_to_one_convolution_exactly(outputs: int, stride: int) -> None:
    unit, x = used(Unit(6, outputs, stride).double()), torch.randn(2, 6, 9, 10, dtype=torch.float64)
    wanted = unit(x)
    unit.fold()
    unit.fold()  # again changes nothing
    torch.testing.assert_close(unit(x), wanted, rtol=1e-12, atol=1e-12)
    assert [type(m).__name__ for m in unit.modules()] == ["Unit", "Conv2d", "Identity", "Identity", "ReLU"]


@torch.no_grad()
def test_the_whole_student_folds_exactly() -> None:
    torch.manual_seed(0)
    student, x = used(Student(RepDense()).double()), torch.rand(1, 3, 32, 32, dtype=torch.float64) * 2 - 1
    bare = folded(student)
    for level, wanted in zip(bare.encoder(x), student.encoder(x), strict=True):
        torch.testing.assert_close(level, wanted, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(bare(x), student(x), rtol=1e-9, atol=1e-9)
    encoder = [m for m in bare.encoder.modules() if not list(m.children())]
    assert {type(m).__name__ for m in encoder} == {"Conv2d", "ReLU", "Identity"}
    assert sum(isinstance(m, torch.nn.Conv2d) for m in encoder) == 1 + sum(count for _, count in LEVELS)


def test_levels_are_where_a_student_wants_them() -> None:
    encoder = encoders.open("repdense")
    levels = encoder(torch.zeros(1, 3, 64, 96))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (width, 64 // stride, 96 // stride) for width, stride in zip(encoder.channels, (2, 4, 8, 16, 32), strict=True)
    ]
    assert len(encoder.stages) == 5


def test_every_branch_learns() -> None:
    torch.manual_seed(0)
    encoder = RepDense().train()
    sum(level.square().mean() for level in encoder(torch.randn(2, 3, 64, 64))).backward()
    assert all(float(p.grad.abs().max()) > 0 for p in encoder.parameters())


@torch.no_grad()
def test_the_student_on_it_stays_within_its_budget() -> None:
    """4 billion multiply-accumulates a frame of 256 px; 5 MB as INT8: a byte a weight, and a tenth for the rest."""
    student, counts = folded(Student(RepDense())), []
    convs = [m for m in student.modules() if isinstance(m, torch.nn.Conv2d)]
    for conv in convs:
        conv.register_forward_hook(lambda conv, _x, y: counts.append(y[0].numel() * conv.weight[0].numel()))
    student(torch.zeros(1, 3, 64, 64))
    assert len(counts) == len(convs)
    assert 0.5e9 < sum(counts) * (256 / 64) ** 2 < 4e9
    assert 1.1 * sum(conv.weight.numel() for conv in convs) < 5e6


# ----------------------------------------------------------------------------------- multiply-accumulates


def graph_of(node: onnx.NodeProto, inputs: dict[str, list[int | str]], weight: tuple[int, ...]) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    constant = numpy_helper.from_array(np.zeros(weight, np.float32), "w")
    made = helper.make_graph([node], "g", values, [helper.make_empty_tensor_value_info("y")], [constant])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)])


@pytest.mark.parametrize(
    ("node", "shape", "weight", "products"),
    [
        (helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4), [1, 4, 8, 6], (5, 4, 3, 3), 8 * 6 * 5 * 4 * 9),
        (helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2]), [1, 4, 8, 6], (5, 4, 1, 1), 4 * 3 * 5 * 4),
        (helper.make_node("Conv", ["x", "w"], ["y"], group=4), [1, 4, 8, 6], (4, 1, 3, 3), 6 * 4 * 4 * 9),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), [2, 7], (3, 7), 2 * 7 * 3),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transA=1), [7, 2], (7, 3), 2 * 7 * 3),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), [2, 5, 7], (7, 3), 2 * 5 * 7 * 3),
        (helper.make_node("Mul", ["x", "w"], ["y"]), [2, 5], (2, 5), 0),
    ],
)
def test_products_by_hand(node: onnx.NodeProto, shape: list[int], weight: tuple[int, ...], products: int) -> None:
    assert gmac(graph_of(node, {"x": shape}, weight)) == pytest.approx(products / 1e9, rel=1e-12)


def test_a_tensor_without_a_fixed_shape_is_named() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    with pytest.raises(ModelError, match="tensor y has no fixed shape"):
        gmac(graph_of(node, {"x": ["n", 4, 8, 8]}, (5, 4, 1, 1)))
