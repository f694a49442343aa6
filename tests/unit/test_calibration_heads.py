"""A head on a frozen encoder: refused when its data are wrong, learned when they are right, fused without a trace."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper, numpy_helper

from calibration import addhead, fuse, heads, learn, manifest
from calibration.addhead import Order, add
from calibration.cli import main
from calibration.datasets import phantom
from calibration.export import OPSET, SCALE, TENSORS, ZERO, exported
from calibration.features import pooled
from calibration.heads import Head
from calibration.learn import Examples, Layer
from calibration.manifest import Entry
from calibration.pictures import DatasetError
from calibration.quantize import calibrated, quantised
from calibration.student import Student
from edge.errors import ModelError, UsageError

SIDE, CHANNELS = 64, 8
COLOURS = {"0": (200, 60, 50), "1": (60, 180, 60), "2": (60, 60, 200), "3": (200, 200, 60)}  # a label's colour, RGB


def unmoved(what: str, done: int, total: int) -> None:
    assert 0 < done <= total


def small_net() -> onnx.ModelProto:
    """What `export.exported` makes, in miniature: the same names and the same order of things, random weights."""
    rng, node = np.random.default_rng(3), helper.make_node

    def weights(*shape: int) -> np.ndarray:
        return (rng.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    constants = {
        "image.scale": SCALE,
        "image.zero": ZERO,
        "stem.weight": weights(CHANNELS, 4, 4, 4) * np.array([1, 1, 1, 0], np.float32)[:, None, None],
        "deep.weight": weights(16, CHANNELS, 3, 3),
        "logits.weight": weights(4, CHANNELS, 1, 1),
        "axes": np.array([2, 3]),
    }
    nodes = [
        node("Transpose", ["image"], ["planes"], "planes", perm=[0, 3, 1, 2]),
        node("DequantizeLinear", ["planes", "image.scale", "image.zero"], ["x"], "normalise"),
        node("Conv", ["x", "stem.weight"], ["stem"], "stem", kernel_shape=[4, 4], strides=[4, 4]),
        node("Relu", ["stem"], ["decoder4"], "decoder4"),
        node("Conv", ["decoder4", "deep.weight"], ["level32"], "deep", kernel_shape=[3, 3], strides=[8, 8]),
        node("ReduceMean", ["decoder4", "axes"], ["fine"], "fine", keepdims=0),
        node("ReduceMean", ["level32", "axes"], ["coarse"], "coarse", keepdims=0),
        node("Concat", ["fine", "coarse"], ["features"], "features", axis=1),
        node("Conv", ["decoder4", "logits.weight"], ["logits"], "logits", kernel_shape=[1, 1]),
        node("DepthToSpace", ["logits"], ["polyp"], "polyp", blocksize=2),
    ]
    shapes = {"polyp": [1, 1, SIDE // 2, SIDE // 2], "features": [1, CHANNELS + 16]}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [1, SIDE, SIDE, 4])],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all three files of a net that was never trained: its features are good enough for colours."""
    folder, net = tmp_path_factory.mktemp("model"), small_net()
    rng = np.random.default_rng(4)
    frames = [rng.integers(0, 256, (1, SIDE, SIDE, 4), np.uint8) for _ in range(3)]
    calibration = calibrated(net, frames, "min-max")
    onnx.save(net, str(folder / "fp32.onnx"))
    onnx.save(quantised(net, calibration, "u8"), str(folder / "int8.onnx"))
    onnx.save(quantised(net, calibration, "s8"), str(folder / "int8_trt.onnx"))
    return folder


def entry(path: str, split: str, labels: dict[str, str], **more: Any) -> Entry:
    group = more.pop("group", f"group {path}")
    defaults = {"dataset": "drawn", "licence": "ours", "ships": True, "sha256": f"{abs(hash(path)):064x}"[:64]}
    return Entry(path=path, split=split, labels=labels, group=group, **(defaults | more))  # type: ignore[arg-type]


def drawn(folder: Path, head: str, labels: tuple[str, ...], train: int = 10, val: int = 5) -> list[Entry]:
    """Pictures whose label is their colour, with some noise, so that no two are alike."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, entries = np.random.default_rng(5), []
    for label, colour in zip(labels, COLOURS.values(), strict=False):
        for number in range(train + val):
            picture = np.array(colour) + rng.normal(0, 12, (48, 48, 3)) + rng.normal(0, 15)
            name = f"{label}-{number}.png"
            cv2.imwrite(str(folder / name), np.clip(picture, 0, 255).astype(np.uint8)[..., ::-1])
            entries.append(entry(name, "train" if number < train else "val", {head: label}))
    return entries


def listed(folder: Path, entries: list[Entry]) -> Path:
    """A manifest of entries of one data set, or of the phantom."""
    folder.mkdir(parents=True, exist_ok=True)
    roots = [
        manifest.Root(dataset=name, layout="phantom" if name.startswith("phantom") else "folder", path=str(folder))
        for name in sorted({e.dataset for e in entries})
    ]
    path = folder / "manifest.jsonl"
    lines = [msgspec.json.encode(manifest.Header(roots=tuple(roots))), *map(msgspec.json.encode, entries)]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def order(bare: Path, tmp_path: Path, name: str, entries: list[Entry], **more: Any) -> Order:
    path = listed(tmp_path / "data", entries)
    defaults = {"views": 2, "seed": 1, "out": tmp_path / "out", "cache": tmp_path / "cache"}
    return Order(folder=bare, name=name, manifest=path, **(defaults | more))


def outputs_of(path: Path, frame: np.ndarray) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"image": frame}), strict=True))


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


@pytest.mark.parametrize("file", fuse.FILES)
def test_a_map_is_tapped_where_it_comes_off_its_grid(bare: Path, file: str) -> None:
    model = onnx.load(str(bare / file))
    assert fuse.tapped(model, "decoder4") == ("decoder4" if file == "fp32.onnx" else "decoder4/dq")


def test_a_model_without_features_is_refused(bare: Path, tmp_path: Path) -> None:
    model = onnx.load(str(bare / "fp32.onnx"))
    for node in model.graph.node:
        node.output[:] = ["other" if name == "features" else name for name in node.output]
    with pytest.raises(ModelError, match="the model has no features: export it again"):
        fuse.tapped(model, "features")


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


@pytest.mark.parametrize("file", fuse.FILES)
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


# --------------------------------------------------------------------------------------- the whole way


@pytest.mark.parametrize(("name", "labels"), [("preparation", ("adequate", "inadequate")), ("mayo", tuple("0123"))])
def test_a_head_is_added_to_all_files(bare: Path, tmp_path: Path, name: str, labels: tuple[str, ...]) -> None:
    entries = drawn(tmp_path / "data", name, labels)
    record = add(order(bare, tmp_path, name, entries), unmoved)
    assert record.figures["fp32"]["balanced_accuracy"] >= 0.85
    assert record.pictures["val"] == dict.fromkeys(labels, 5)
    assert fuse.records(tmp_path / "out") == [record]
    frame = np.full((1, SIDE, SIDE, 4), 90, np.uint8)
    for file in fuse.FILES:
        before, after = outputs_of(bare / file, frame), outputs_of(tmp_path / "out" / file, frame)
        assert after.pop(name).shape == (1, heads.named(name).outputs)
        assert after.keys() == before.keys()
        for output, value in before.items():
            np.testing.assert_array_equal(after[output], value)


def test_what_was_cached_is_not_computed_again(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = order(bare, tmp_path, "preparation", drawn(tmp_path / "data", "preparation", ("adequate", "inadequate")))
    first = add(wanted, unmoved)
    monkeypatch.setattr(addhead.Encoder, "tap", lambda self, picture: pytest.fail("ran the encoder"))
    assert add(dataclasses.replace(wanted, out=tmp_path / "again"), unmoved) == first


def test_the_command_adds_a_head_that_makes_its_own_examples(
    bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    rng, entries = np.random.default_rng(6), []
    for number in range(14):
        blobs = cv2.resize(rng.uniform(0.3, 1, (16, 16, 3)).astype(np.float32), (96, 96))
        picture = np.clip(blobs * (220, 120, 90) + rng.normal(0, 12, blobs.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), picture[..., ::-1])
        entries.append(entry(f"{number}.png", "train" if number < 9 else "val", {}))
    path = listed(folder, entries)
    arguments = ["--head", "view", "--manifest", str(path), "--views", "6", "--cache", str(tmp_path / "cache")]
    assert main(["add-head", str(bare), "--out", str(tmp_path / "out"), *arguments]) == 0
    told = capsys.readouterr().out
    assert "may be released" in told
    (record,) = fuse.records(tmp_path / "out")
    assert record.figures["int8_cpu"]["n"] == 5 * 6
    assert record.pictures == {"train": {"clear": 9}, "val": {"clear": 5}}


def test_depth_is_learned_from_the_phantom(bare: Path, tmp_path: Path) -> None:
    entries = [
        *phantom.entries(Path("11:10:train")),
        *phantom.entries(Path("12:5:val")),
    ]
    record = add(order(bare, tmp_path, "depth", entries), unmoved)
    assert record.development
    assert record.figures["fp32"]["n"] == 5
    assert 0 < record.figures["fp32"]["abs_rel"] < 1
    assert outputs_of(tmp_path / "out" / "int8.onnx", np.zeros((1, SIDE, SIDE, 4), np.uint8))["depth"].shape[2] == 16


def test_data_that_may_not_be_shipped(bare: Path, tmp_path: Path) -> None:
    """Left out of a head that ships; or let in, and then the head is marked."""
    entries = drawn(tmp_path / "data", "preparation", ("adequate", "inadequate"))
    research = msgspec.structs.replace(entries[0], ships=False, licence="research only")
    wanted = order(bare, tmp_path, "preparation", [research, *entries[1:]])
    kept_out = add(wanted, unmoved)
    assert (kept_out.left_out, kept_out.development, kept_out.pictures["train"]["adequate"]) == (1, False, 9)
    let_in = add(dataclasses.replace(wanted, unshippable=True, out=tmp_path / "let in"), unmoved)
    assert let_in.development
    assert "research only" in let_in.why


# -------------------------------------------------------------------------------------------- refusals


def test_a_class_without_pictures_is_named(bare: Path, tmp_path: Path) -> None:
    entries = drawn(tmp_path / "data", "preparation", ("adequate",))
    with pytest.raises(DatasetError, match="head preparation, train, class inadequate: 0 pictures, expected 8 or more"):
        add(order(bare, tmp_path, "preparation", entries), unmoved)
    assert not (tmp_path / "out").exists()


def test_too_few_held_out_pictures_are_named(bare: Path, tmp_path: Path) -> None:
    entries = drawn(tmp_path / "data", "preparation", ("adequate", "inadequate"), val=3)
    with pytest.raises(DatasetError, match="val, class adequate: 3 pictures, expected 4 or more"):
        add(order(bare, tmp_path, "preparation", entries), unmoved)


def test_a_class_of_one_group_is_named(bare: Path, tmp_path: Path) -> None:
    entries = drawn(tmp_path / "data", "preparation", ("adequate", "inadequate"))
    same = [
        msgspec.structs.replace(e, group="one") if e.split == "train" and e.labels["preparation"] == "adequate" else e
        for e in entries
    ]
    with pytest.raises(DatasetError, match="class adequate: all 10 pictures are of one group"):
        add(order(bare, tmp_path, "preparation", same), unmoved)


def test_a_label_outside_the_list_is_named(monkeypatch: pytest.MonkeyPatch, bare: Path, tmp_path: Path) -> None:
    entries = drawn(tmp_path / "data", "preparation", ("adequate", "inadequate"))
    head = dataclasses.replace(heads.named("preparation"), labels=("adequate", "dirty"))
    monkeypatch.setattr(heads, "named", lambda name: head)
    with pytest.raises(DatasetError, match=r"drawn/inadequate-0\.png: preparation 'inadequate' is none of adequate"):
        add(order(bare, tmp_path, "preparation", entries), unmoved)


def test_a_head_twice_is_refused(bare: Path, tmp_path: Path) -> None:
    wanted = order(bare, tmp_path, "preparation", drawn(tmp_path / "data", "preparation", ("adequate", "inadequate")))
    add(wanted, unmoved)
    with pytest.raises(ModelError, match=r"fp32\.onnx: already has a head preparation"):
        add(dataclasses.replace(wanted, folder=wanted.out, out=tmp_path / "twice"), unmoved)


def test_an_unknown_head_and_a_folder_without_a_model_are_usage(bare: Path, tmp_path: Path) -> None:
    entries = drawn(tmp_path / "data", "preparation", ("adequate", "inadequate"))
    with pytest.raises(UsageError, match="--head nonsense: there are: depth, finding"):
        add(order(bare, tmp_path, "nonsense", entries), unmoved)
    with pytest.raises(UsageError, match=r"no fp32\.onnx in it"):
        add(dataclasses.replace(order(bare, tmp_path, "mayo", entries), folder=tmp_path), unmoved)


def test_a_released_model_is_not_changed_in_place(bare: Path, tmp_path: Path) -> None:
    folder = tmp_path / "released"
    folder.mkdir()
    (folder / "fp32.onnx").write_bytes((bare / "fp32.onnx").read_bytes())
    (folder / "model.toml").touch()
    wanted = order(bare, tmp_path, "preparation", drawn(tmp_path / "data", "preparation", ("adequate", "inadequate")))
    with pytest.raises(UsageError, match="is a released model; give --out"):
        add(dataclasses.replace(wanted, folder=folder, out=folder), unmoved)


@pytest.mark.parametrize("name", heads.names())
def test_every_head_has_labels_from_the_manifests_own_list(name: str) -> None:
    head = heads.named(name)
    assert head.labels == manifest.LABELS.get(name, head.labels)
    assert head.label(entry("some.png", "train", {})) in (None, *head.labels)
