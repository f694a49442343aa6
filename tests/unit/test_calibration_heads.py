"""What a model offers heads, how they learn, and how they are fused without a trace."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from calibration import encodings, fuse, learn
from calibration.export import TENSORS, exported
from calibration.features import pooled
from calibration.heads import Head
from calibration.learn import Examples, Layer
from calibration.student import Student
from edge.errors import ModelError
from tests.support.bare import CHANNELS, SIDE

# ------------------------------------------------------------------------------------- what a model offers


def test_features_are_means_of_a_grid_and_deviations() -> None:
    levels = [torch.rand(2, c, s, s) for c, s in ((3, 32), (4, 16), (5, 8), (6, 3), (7, 2))]
    features = pooled(levels)
    assert features.shape == (2, 5 * (4 + 5 + 6 + 7))
    torch.testing.assert_close(features[:, 0], levels[1][:, 0, :8, :8].mean((1, 2)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(features[:, 16:20], levels[1].std((2, 3), correction=0), rtol=1e-5, atol=1e-6)


def test_the_export_names_what_heads_may_tap() -> None:
    model = exported(Student().eval(), SIDE)
    shapes = {o.name: [d.dim_value for d in o.type.tensor_type.shape.dim] for o in model.graph.output}
    assert shapes["features"][0] == 1
    for tap in TENSORS:
        assert fuse.tapped(model, tap) == tap
    # The folded copy says what the student says: no tensor got another's name.
    frame = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 4), np.uint8)
    levels = fuse.session(model, TENSORS[2:7]).run(None, {"image": frame})
    assert [level.shape[-1] for level in levels] == [SIDE // stride for stride in (2, 4, 8, 16, 32)]
    (features,) = fuse.session(model, ["features"]).run(None, {"image": frame})
    np.testing.assert_allclose(features, pooled([torch.from_numpy(v) for v in levels]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("file", encodings.FILES.values())
def test_a_map_is_tapped_where_it_comes_off_its_grid(bare: Path, file: str) -> None:
    model = onnx.load(str(bare / file))
    assert fuse.tapped(model, "decoder4") == ("decoder4/dq" if file.startswith("int8") else "decoder4")


def test_a_model_without_features_is_refused(bare: Path, tmp_path: Path) -> None:
    model = onnx.load(str(bare / "fp32.onnx"))
    for node in model.graph.node:
        node.output[:] = ["other" if name == "features" else name for name in node.output]
    with pytest.raises(ModelError, match="the model has no features: export it again"):
        fuse.tapped(model, "features")


@pytest.mark.parametrize("file", encodings.FILES.values())
def test_the_first_parts_of_the_features_are_known_by_their_width(bare: Path, file: str) -> None:
    model = onnx.load(str(bare / file))
    assert [fuse.width_of(model, parts) for parts in (1, 2)] == [CHANNELS, CHANNELS + 16]
    with pytest.raises(ModelError, match="joined from 2 parts, expected 3 or more"):
        fuse.width_of(model, 3)


# -------------------------------------------------------------------------------------------- learning


def toy(kind: str = "classify", hidden: int = 0, labels: int = 3) -> Head:
    names = tuple("abcd"[:labels])
    return Head(kind=kind, labels=names, label=lambda e: None, ships=True, hidden=hidden)  # type: ignore[arg-type]


def clusters(labels: int, each: int = 40, width: int = 6) -> Examples:
    """Labels along a line: good for classes and for grades. One feature is constant, one on another scale."""
    rng = np.random.default_rng(1)
    targets = np.repeat(np.arange(labels), each)
    taps = rng.normal(0, 0.3, (labels * each, width)) + np.outer(targets, np.ones(width))
    taps[:, 0], taps[:, 1] = 7.0, taps[:, 1] * 1000
    return Examples(taps.astype(np.float32), targets, [f"g{i // 2}" for i in range(len(targets))])


@pytest.mark.parametrize("hidden", [0, 8])
def test_classes_are_learned(hidden: int) -> None:
    examples = clusters(3)
    layers = learn.trained(toy(hidden=hidden), examples, seed=1)
    assert len(layers) == 1 + bool(hidden)
    assert (learn.answered(layers, examples.taps).argmax(1) == examples.targets).mean() > 0.97


def test_a_ridge_is_solved_and_as_sure_as_it_may_be() -> None:
    """The optimum is where no small step helps; without its factor all answers would be near a half."""
    examples, head = clusters(2), dataclasses.replace(toy(labels=2), ridge=5.0)
    (layer,) = learn.trained(head, examples, seed=1)
    logits = learn.answered([layer], examples.taps)
    assert (logits.argmax(1) == examples.targets).mean() > 0.97
    sure = 1 / (1 + np.exp(-np.abs(logits[:, 1] - logits[:, 0])))
    assert sure.mean() > 0.95
    np.testing.assert_array_equal(layer.weight, learn.trained(head, examples, seed=9)[0].weight)  # nothing is drawn

    noisy = clusters(2)  # a feature that says nothing gets less from a ridge than from none
    noisy.taps[:, 3:] = np.random.default_rng(5).normal(0, 1, noisy.taps[:, 3:].shape)

    def spread(weight: np.ndarray) -> float:
        scaled = np.abs(weight[1] - weight[0]) * noisy.taps.std(0)
        return float(scaled[3:].max() / scaled[1:3].max())

    loose = learn.trained(dataclasses.replace(head, ridge=1e-4), noisy, seed=1)
    assert spread(learn.trained(head, noisy, seed=1)[0].weight) < spread(loose[0].weight)


def test_grades_are_learned_as_thresholds() -> None:
    examples = clusters(4)
    said = learn.answered(learn.trained(toy("ordinal", labels=4), examples, seed=1), examples.taps)
    assert said.shape == (160, 3)
    assert ((said > 0).sum(1) == examples.targets).mean() > 0.9


def test_training_repeats_to_the_bit() -> None:
    once, again = (learn.trained(toy(hidden=4), clusters(3), seed=7) for _ in range(2))
    for first, second in zip(once, again, strict=True):
        np.testing.assert_array_equal(first.weight, second.weight)


def test_what_never_changed_in_training_says_nothing_later() -> None:
    examples = clusters(3)
    layers = learn.trained(toy(), examples, seed=1)
    moved = examples.taps.copy()
    moved[:, 0] = -1e6
    np.testing.assert_array_equal(learn.answered(layers, moved), learn.answered(layers, examples.taps))


def test_rare_classes_weigh_as_much_as_common_ones() -> None:
    weights = learn.balance(toy(labels=2), np.array([0] * 90 + [1] * 10))
    assert weights[0] * 90 == pytest.approx(weights[1] * 10)


def test_a_group_is_never_on_both_sides_of_the_stopping_set() -> None:
    examples = clusters(3)
    held = learn.parted(examples.groups, examples.targets, seed=1)
    inside = {g for g, out in zip(examples.groups, held, strict=True) if out}
    outside = {g for g, out in zip(examples.groups, held, strict=True) if not out}
    assert not inside & outside
    assert {int(t) for t in examples.targets[held]} == {0, 1, 2}


# --------------------------------------------------------------------------------------------- fusing


def layers_for(model: onnx.ModelProto, tap: str, outputs: int) -> list[Layer]:
    rng = np.random.default_rng(2)
    if tap == "features":
        (width,) = (o.type.tensor_type.shape.dim[1].dim_value for o in model.graph.output if o.name == "features")
        shapes: list[tuple[int, ...]] = [(5, width), (outputs, 5)]
    else:
        shapes = [(4, CHANNELS, 3, 3), (outputs, 4, 1, 1)]
    return [
        Layer(rng.normal(0, 0.1, s).astype(np.float32), rng.normal(0, 0.1, s[0]).astype(np.float32)) for s in shapes
    ]


@pytest.mark.parametrize("file", encodings.FILES.values())
@pytest.mark.parametrize(("tap", "shape"), [("features", (1, 3)), ("decoder4", (1, 3, SIDE // 4, SIDE // 4))])
def test_a_fused_head_says_what_its_layers_say_and_changes_nothing_else(
    bare: Path, file: str, tap: str, shape: tuple[int, ...]
) -> None:
    model = onnx.load(str(bare / file))
    layers = layers_for(model, tap, 3)
    with_head = fuse.fused(model, fuse.Fused("landmark", tap, layers))
    frame = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 4), np.uint8)
    fuse.prove_unchanged(model, with_head, [frame])
    source = fuse.tapped(with_head, tap)
    tapped, said = fuse.session(with_head, [source, "landmark"]).run(None, {"image": frame})
    assert said.shape == shape
    np.testing.assert_allclose(said, learn.answered(layers, tapped), rtol=1e-4, atol=1e-4)


def test_an_inner_tensor_may_have_the_heads_name(bare: Path) -> None:
    """Torch's exporter calls a reshaped tensor `view`."""
    model = onnx.load(str(bare / "int8.onnx"))
    head = fuse.Fused("coarse", "features", layers_for(model, "features", 2))
    frame = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 4), np.uint8)
    fuse.prove_unchanged(model, fuse.fused(model, head), [frame])


def test_a_name_that_is_taken_is_refused(bare: Path) -> None:
    model = onnx.load(str(bare / "fp32.onnx"))
    with pytest.raises(ModelError, match="already has an output polyp"):
        fuse.fused(model, fuse.Fused("polyp", "features", layers_for(model, "features", 2)))


def test_a_head_that_changes_another_output_is_refused(bare: Path) -> None:
    model = onnx.load(str(bare / "fp32.onnx"))
    other = onnx.ModelProto()
    other.CopyFrom(model)
    weight = next(i for i in other.graph.initializer if i.name == "logits.weight")
    values = numpy_helper.to_array(weight).copy()
    values[3] *= 1.01
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    frame = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 4), np.uint8)
    with pytest.raises(ModelError, match="polyp is no longer what it was"):
        fuse.prove_unchanged(model, other, [frame])
