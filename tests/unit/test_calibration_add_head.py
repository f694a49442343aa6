"""`add-head` the whole way: refused when its data are wrong, measured and added to every file when they are right."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from calibration import addhead, encodings, fuse, heads, manifest
from calibration.addhead import add
from calibration.cli import main
from calibration.datasets import phantom
from calibration.pictures import DatasetError
from edge.errors import ModelError, UsageError
from tests.support.bare import CHANNELS, SIDE, drawn, entry, listed, order, outputs_of, unmoved

heads_named = heads.named

# --------------------------------------------------------------------------------------- the whole way


@pytest.mark.parametrize(("name", "labels"), [("preparation", ("adequate", "inadequate")), ("mayo", tuple("0123"))])
def test_a_head_is_added_to_all_files(bare: Path, tmp_path: Path, name: str, labels: tuple[str, ...]) -> None:
    entries = drawn(tmp_path / "data", name, labels)
    record = add(order(bare, tmp_path, name, entries), unmoved)
    assert record.figures["fp32"]["balanced_accuracy"] >= 0.85
    assert record.pictures["val"] == dict.fromkeys(labels, 5)
    assert fuse.records(tmp_path / "out") == [record]
    frame = np.full((1, SIDE, SIDE, 4), 90, np.uint8)
    for file in encodings.FILES.values():
        before, after = outputs_of(bare / file, frame), outputs_of(tmp_path / "out" / file, frame)
        assert after.pop(name).shape == (1, heads.named(name).outputs)
        assert after.keys() == before.keys()
        for output, value in before.items():
            np.testing.assert_array_equal(after[output], value)


def test_a_head_that_reads_one_part_gives_the_others_no_weight(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "named", lambda name: dataclasses.replace(heads_named(name), parts=1))
    add(
        order(bare, tmp_path, "preparation", drawn(tmp_path / "data", "preparation", ("adequate", "inadequate"))),
        unmoved,
    )
    model = onnx.load(str(tmp_path / "out" / "fp32.onnx"))
    (weight,) = (numpy_helper.to_array(i) for i in model.graph.initializer if i.name == "preparation/0/weight")
    assert weight[:, :CHANNELS].any()
    assert not weight[:, CHANNELS:].any()


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
