"""The manifest: written once, checked against itself and its files; splits that share nothing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="the calibration extra is not installed")

from calibration import datasets, manifest, phash, splits
from calibration.cli import manifest as command
from calibration.manifest import Entry, Header, Root
from calibration.pictures import DatasetError
from edge.errors import UsageError
from tests.support import trees

SHARED = Path(__file__).parents[3] / "shared/data"


def run(*arguments: object) -> int:
    """The command, without the other commands around it."""
    import argparse

    parser = argparse.ArgumentParser()
    command.arguments(parser)
    return command.run(parser.parse_args([str(a) for a in arguments]))


def entry(path: str, split: manifest.Split = "train", **fields: object) -> Entry:
    base = Entry(
        dataset="a",
        path=path,
        sha256=path.rjust(64, "0"),
        split=split,
        group=path,
        licence="ours",
        ships=True,
    )
    return msgspec.structs.replace(base, **fields)


ROOT = Root(dataset="a", layout="folder", path="pictures")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    entries = [entry("x.jpg", boxes=((1.0, 2.0, 3.0, 4.0),), labels={"mayo": "2"}), entry("y.jpg", "val", frame=7)]
    manifest.write(tmp_path / "m.jsonl", [ROOT], entries)
    again = manifest.read(tmp_path / "m.jsonl")
    assert again.header == Header(roots=(ROOT,))
    assert list(again.entries) == entries
    assert again.root(entries[0]) == tmp_path / "pictures"
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]


def test_a_manifest_is_written_once(tmp_path: Path) -> None:
    manifest.write(tmp_path / "m.jsonl", [ROOT], [entry("x.jpg")])
    with pytest.raises(DatasetError, match=r"m\.jsonl: exists already"):
        manifest.write(tmp_path / "m.jsonl", [ROOT], [entry("y.jpg")])


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "no pictures"),
        ([entry("x", dataset="b")], "x: of b, which the header does not name"),
        ([entry("x"), entry("x")], "x: twice in a"),
        ([entry("x", labels={"mayo": "4"})], r"label mayo = 4, expected one of \('0', '1'"),
        ([entry("x", labels={"colour": "red"})], "label colour = red"),
        ([entry("x", group="p1"), entry("y", "val", group="p1")], "group p1 is in more than one split: a/x .* a/y"),
        ([entry("x", sha256="1" * 64), entry("y", "test", sha256="1" * 64)], "sha256 1+ is in more than one split"),
    ],
)
def test_entries_at_odds_are_refused_before_anything_is_written(
    entries: list[Entry], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=said):
        manifest.write(tmp_path / "m.jsonl", [ROOT], entries)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1: not a manifest's header"),
        (b'{"roots": [], "colour": 1}\n', "line 1: .*unknown field `colour`"),
        (b'{"version": 2, "roots": []}\n', "line 1: "),
        (b'{"roots": []}\n{"dataset": "a"}\n', "line 2: not a manifest's entry .*missing required field"),
        (b'{"roots": []}\n{"dat', "line 2: not a manifest's entry"),
    ],
)
def test_a_damaged_manifest_names_its_line(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(content)
    with pytest.raises(DatasetError, match=said):
        manifest.read(tmp_path / "m.jsonl")


def test_a_missing_manifest_says_who_writes_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"m\.jsonl: cannot be read .*endoedge-model manifest"):
        manifest.read(tmp_path / "m.jsonl")


# ------------------------------------------------------------------------------------------------------ the command


def test_the_command_lists_several_data_sets_with_paths_relative_to_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.kvasir_seg(tmp_path / "kvasir")
    trees.limuc(tmp_path / "limuc")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    wanted = ("--dataset", "kvasir_seg", "kvasir", "--dataset", "limuc", "limuc", "--phantom", "5:4:train")
    assert run("out/m.jsonl", *wanted) == 0
    monkeypatch.chdir(tmp_path / "out")
    listed = manifest.read(Path("m.jsonl"))
    assert [root.path for root in listed.header.roots] == ["../kvasir", "../limuc", "5:4:train"]
    for one in listed.entries:
        if one.dataset != "phantom-5":
            datasets.load(one, listed.root(one))
    assert run("m.jsonl", "--check") == 0


def test_check_names_every_file_that_is_missing_or_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees.limuc(tmp_path / "limuc")
    run(tmp_path / "m.jsonl", "--dataset", "limuc", tmp_path / "limuc")
    (tmp_path / "limuc/test_set/Mayo 0/UC_patient_32_7.bmp").unlink()
    trees.draw(tmp_path / "limuc/test_set/Mayo 1/UC_patient_33_7.bmp", 99)
    with pytest.raises(DatasetError, match="2 files are missing or differ"):
        run(tmp_path / "m.jsonl", "--check")
    out = capsys.readouterr().out
    assert "UC_patient_32_7.bmp: missing" in out
    assert "UC_patient_33_7.bmp: not the file that the manifest lists" in out
    with pytest.raises(DatasetError, match=r"UC_patient_32_7\.bmp: missing, and 1 more"):
        manifest.verify(manifest.read(tmp_path / "m.jsonl"))


def test_a_share_of_the_groups_goes_to_val_where_there_is_no_split(tmp_path: Path) -> None:
    for seed in range(40):
        trees.draw(tmp_path / f"own/normal-cecum/{seed}.png", seed)
    run(tmp_path / "m.jsonl", "--dataset", "folder", tmp_path / "own", "--split-by-group", "0.3")
    held_out = [e for e in manifest.read(tmp_path / "m.jsonl").entries if e.split == "val"]
    assert 4 <= len(held_out) <= 20


@pytest.mark.parametrize("arguments", [(), ("--check", "--phantom", "1:1")])
def test_a_command_that_makes_no_sense_is_a_usage_error(arguments: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        run(tmp_path / "m.jsonl", *arguments)


# -------------------------------------------------------------------------------------------------- near-duplicates


def leaky(root: Path) -> Path:
    """Four scenes; val has one of training's again, brighter and as JPEG, and a second picture of that patient."""
    for seed in range(4):
        trees.draw(root / f"train/normal-cecum/{seed}.png", seed, (192, 160))
    again = np.clip(trees.picture(2, (192, 160)).astype(np.float32) * 1.1 + 6, 0, 255).astype(np.uint8)
    (root / "val/normal-cecum").mkdir(parents=True)
    cv2.imwrite(str(root / "val/normal-cecum/again.jpg"), again, [cv2.IMWRITE_JPEG_QUALITY, 60])
    trees.draw(root / "val/normal-cecum/later.png", 11, (192, 160))
    trees.draw(root / "val/normal-cecum/other.png", 12, (192, 160))
    rows = [f"own/train/normal-cecum/{seed}.png,x,normal-cecum,train,p{seed}" for seed in range(4)]
    rows[3] = rows[3].replace("p3", "p2")  # the leaking picture's patient has another one
    rows += [f"own/val/normal-cecum/{n},x,normal-cecum,val,p7" for n in ("again.jpg", "later.png")]
    rows += ["own/val/normal-cecum/other.png,x,normal-cecum,val,p8"]
    (root.parent / "classification.csv").write_text("\n".join(["path,dataset,label,split,group", *rows]))
    return root


def test_near_duplicates_across_splits_are_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = leaky(tmp_path / "own")
    with pytest.raises(DatasetError, match="1 near-duplicates across splits; --drop-near-duplicates"):
        run(tmp_path / "m.jsonl", "--dataset", "folder", root)
    assert re.search(
        r"train/normal-cecum/2\.png \(train\) shows the scene of own/val/.*/again\.jpg", capsys.readouterr().out
    )
    assert not (tmp_path / "m.jsonl").exists()


def test_what_training_shares_with_what_is_held_out_is_left_out_with_its_group(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = leaky(tmp_path / "own")
    run(tmp_path / "m.jsonl", "--dataset", "folder", root, "--drop-near-duplicates")
    assert "left out with its group p2: own/train/normal-cecum/2.png" in capsys.readouterr().out
    listed = manifest.read(tmp_path / "m.jsonl")
    assert {Path(e.path).name for e in listed.entries if e.split == "val"} == {"again.jpg", "later.png", "other.png"}
    assert {Path(e.path).name for e in listed.entries if e.split == "train"} == {"0.png", "1.png"}
    assert not splits.leaks(listed.entries, lambda e: datasets.grey(e, listed.root(e)))


def test_pictures_that_somebody_looked_at_are_polyp_free(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "own"
    for seed in range(2):
        trees.draw(root / f"train/scope-shaft/{seed}.png", seed, (192, 160))
    digest = hashlib.sha256((root / "train/scope-shaft/1.png").read_bytes()).hexdigest()
    listed = tmp_path / "polyp_free.txt"
    listed.write_text(f"# looked at\n\n{digest}  own/scope-shaft/1.png\n{'0' * 64}  another set's\n")
    run(tmp_path / "m.jsonl", "--dataset", "folder", root, "--polyp-free", listed)
    assert "1 of 2 listed pictures are here" in capsys.readouterr().out
    entries = manifest.read(tmp_path / "m.jsonl").entries
    assert {Path(entry.path).name for entry in entries if entry.polyp_free} == {"1.png"}

    listed.write_text("1.png\n")
    with pytest.raises(DatasetError, match=r"polyp_free\.txt, line 1: expected a sha256, 64 .* got '1\.png'"):
        run(tmp_path / "other.jsonl", "--dataset", "folder", root, "--polyp-free", listed)
    with pytest.raises(DatasetError, match=r"none\.txt: cannot be read: No such file"):
        run(tmp_path / "other.jsonl", "--dataset", "folder", root, "--polyp-free", tmp_path / "none.txt")
    assert not (tmp_path / "other.jsonl").exists()


Change = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def recompressed(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    coded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8)


CHANGES: dict[str, Change] = {
    "compression": recompressed,
    "half the size": lambda grey: np.asarray(cv2.resize(grey, None, fx=0.5, fy=0.5), np.uint8),
    "brighter": lambda grey: np.clip(grey.astype(np.float32) * 1.15 + 8, 0, 255).astype(np.uint8),
    "shaded": lambda grey: (grey * np.linspace(0.75, 1, grey.shape[1])[None]).astype(np.uint8),
}


def scene(seed: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(trees.picture(seed, (256, 256)), cv2.COLOR_BGR2GRAY), np.uint8)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_same_scene_is_recognised_and_no_other(change: Change) -> None:
    scenes = [scene(seed) for seed in range(30)]
    hashes = [phash.phash(grey) for grey in scenes]
    changed = [change(grey) for grey in scenes[:10]]
    alike = {
        (i, j)
        for i, j in phash.near_pairs([phash.phash(grey) for grey in changed], hashes)
        if phash.alikeness(phash.structure(changed[i]), phash.structure(scenes[j])) >= phash.ALIKE
    }
    assert alike == {(i, i) for i in range(10)}


def test_a_near_scene_is_recognised_after_the_camera_moved_a_little() -> None:
    looks = [phash.structure(scene(seed)) for seed in range(6)]
    moved = [phash.structure(np.roll(scene(seed), (12, -16), (0, 1))) for seed in range(6)]
    alike = np.array([[phash.alikeness(one, other) for other in looks] for one in moved])
    np.testing.assert_array_equal(alike >= phash.ALIKE, np.eye(6, dtype=bool))


def test_near_pairs_are_those_that_counting_bits_finds() -> None:
    rng = np.random.default_rng(3)
    hashes = [rng.bytes(8).hex() for _ in range(60)]
    bits = [int(h, 16) for h in hashes]
    counted = {(i, j) for i, a in enumerate(bits[:25]) for j, b in enumerate(bits[25:]) if bin(a ^ b).count("1") <= 24}
    assert counted
    assert set(phash.near_pairs(hashes[:25], hashes[25:], near=24)) == counted
    assert not list(phash.near_pairs([], hashes))


# ---------------------------------------------------------------------------------------------------- the real data


@pytest.mark.timeout(900)
@pytest.mark.skipif(not SHARED.is_dir(), reason="no development data at ../shared/data")
def test_the_development_datas_leaks_are_found_and_left_out() -> None:
    folders = {"kvasir_seg": SHARED / "kvasir_seg", "lower_gi": SHARED / "lower_gi"}
    entries = datasets.scan("kvasir_seg", folders["kvasir_seg"]) + datasets.scan("folder", folders["lower_gi"])

    def grey(one: Entry) -> NDArray[np.uint8]:
        return datasets.grey(one, folders[one.dataset])

    found = splits.leaks(entries, grey)
    assert {leak.leaking.dataset for leak in found} <= {"lower_gi"}  # Kvasir-SEG's were taken out before
    clean, reasons = splits.without_leaks(entries, grey)
    assert {leak.leaking.group for leak in reasons} == {leak.leaking.group for leak in found}
    assert [e for e in clean if e.split != "train"] == [e for e in entries if e.split != "train"]
    assert not splits.leaks(clean, grey)
    assert not list(manifest.faults(Header(roots=tuple(_root(name) for name in folders)), clean))


def _root(name: str) -> Root:
    return Root(dataset=name, layout="folder", path=".")
