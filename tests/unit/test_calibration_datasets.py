"""Every public layout, read from a tiny tree in its published structure; and what is said of a tree that is damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from calibration import datasets
from calibration.datasets import hyperkvasir, limuc
from calibration.manifest import LABELS, Entry
from calibration.pictures import DatasetError
from edge.phantom import training_pictures
from tests.support import trees

Tree = Callable[[Path], None]

TREES: dict[str, tuple[str, Tree]] = {
    "kvasir_seg": ("kvasir_seg", trees.kvasir_seg),
    "kvasir_seg with splits": ("kvasir_seg", trees.kvasir_seg_split),
    "cvc_clinicdb": ("cvc_clinicdb", trees.cvc_clinicdb),
    "cvc_clinicdb with a table": ("cvc_clinicdb", trees.cvc_clinicdb_table),
    "endotect": ("endotect", trees.endotect),
    "hyperkvasir": ("hyperkvasir", trees.hyperkvasir),
    "kvasir_v2": ("kvasir_v2", trees.kvasir_v2),
    "limuc": ("limuc", trees.limuc),
    "limuc by patient": ("limuc", trees.limuc_patients),
    "real_colon": ("real_colon", trees.real_colon),
    "sun": ("sun", trees.sun),
    "folder": ("folder", trees.folder),
}
NEVER_SHIP = {"cvc_clinicdb", "endotect", "kvasir_v2", "sun"}


def made(tree: Tree, tmp_path: Path) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    tree(root)
    return root


def scanned(layout: str, tree: Tree, tmp_path: Path) -> dict[str, Entry]:
    """Entries by the name of their file, without its folder."""
    entries = datasets.scan(layout, made(tree, tmp_path))
    return {Path(e.path).name: e for e in entries}


def test_every_layout_but_the_phantom_has_a_tree_here() -> None:
    assert {layout for layout, _ in TREES.values()} == set(datasets.layouts()) - {"phantom"}


@pytest.mark.parametrize(("layout", "tree"), TREES.values(), ids=TREES)
def test_a_layout_lists_every_picture_with_all_that_training_needs(layout: str, tree: Tree, tmp_path: Path) -> None:
    root = made(tree, tmp_path)
    seen: list[tuple[int, int]] = []
    entries = datasets.scan(layout, root, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(entries), len(entries))
    listed = {root / name for e in entries for name in (e.path, e.mask) if name}
    pictures = {p for p in root.rglob("*") if p.suffix in (".jpg", ".png", ".bmp", ".tif")}
    assert listed == pictures
    for entry in entries:
        assert len(entry.sha256) == 64
        assert len(entry.phash) == 16
        assert entry.licence
        assert entry.ships == (layout not in NEVER_SHIP and not Path(entry.path).name.startswith("kv1_"))
        assert all(label in LABELS[head] for head, label in entry.labels.items())
        assert len(entry.lesions) in (0, len(entry.boxes))
        sample = datasets.load(entry, root)
        assert sample.picture.shape == (*trees.SIZE[::-1], 3)
        assert sample.mask.shape == trees.SIZE[::-1]
        assert sample.mask.any() == bool(entry.mask)


@pytest.mark.parametrize(("layout", "tree"), TREES.values(), ids=TREES)
def test_groups_are_never_in_two_splits(layout: str, tree: Tree, tmp_path: Path) -> None:
    entries = datasets.scan(layout, made(tree, tmp_path))
    assert len({(e.group, e.split) for e in entries}) == len({e.group for e in entries})


def test_kvasir_seg_has_boxes_and_the_authors_split(tmp_path: Path) -> None:
    root = made(trees.kvasir_seg, tmp_path)
    first, second = sorted(p.stem for p in root.rglob("images/*"))
    (root / "Kvasir-SEG/train.txt").write_text(first)
    (root / "Kvasir-SEG/val.txt").write_text(second)
    entries = datasets.scan("kvasir_seg", root)
    assert [e.split for e in entries] == ["train", "val"]
    assert entries[0].boxes == ((20, 10, 50, 30),)


@pytest.mark.parametrize("tree", [trees.cvc_clinicdb, trees.cvc_clinicdb_table])
def test_clinicdb_frames_know_their_sequence_and_are_a_test_set(tree: Tree, tmp_path: Path) -> None:
    entries = datasets.scan("cvc_clinicdb", made(tree, tmp_path))
    assert {e.split for e in entries} == {"test"}
    assert {e.group for e in entries} == {"cvc_clinicdb/1", "cvc_clinicdb/2"}


@pytest.mark.parametrize(
    ("name", "labels", "polyp_free"),
    [
        ("cecum", {"landmark": "caecum"}, True),
        ("bbps-0-1", {"landmark": "other", "preparation": "inadequate"}, True),
        ("bbps-2-3", {"landmark": "other", "preparation": "adequate"}, True),
        ("impacted-stool", {"landmark": "other", "preparation": "inadequate"}, True),
        ("polyps", {"landmark": "other", "finding": "polyp"}, False),
        ("ulcerative-colitis-grade-2", {"landmark": "other", "finding": "ulcerative-colitis", "mayo": "2"}, False),
        ("ulcerative-colitis-grade-2-3", {"landmark": "other", "finding": "ulcerative-colitis"}, False),
        ("z-line", {"site": "cardia-zline"}, True),
    ],
)
def test_hyperkvasir_classes_in_our_words(name: str, labels: dict[str, str], polyp_free: bool, tmp_path: Path) -> None:
    entries = scanned("hyperkvasir", trees.hyperkvasir, tmp_path)
    assert len(entries) == 23
    entry = entries[f"uuid-{name}.jpg"]
    assert (entry.labels, entry.polyp_free, entry.burnt_in) == (labels, polyp_free, True)


def test_class_folders_are_read_without_their_nesting_too(tmp_path: Path) -> None:
    root = tmp_path / "plain"
    for name in ("normal-cecum", "bbps-0-1"):
        trees.draw(root / name / f"{name}.jpg", 1)
    assert len(datasets.scan("hyperkvasir", root)) == 2


def test_recorders_corners_are_black_when_loaded(tmp_path: Path) -> None:
    root = made(trees.kvasir_v2, tmp_path)
    entry = datasets.scan("kvasir_v2", root)[0]
    picture = datasets.load(entry, root).picture
    assert not picture[-1, 0].any()
    assert picture[30, 60].any()


@pytest.mark.parametrize("tree", [trees.limuc, trees.limuc_patients])
def test_limuc_splits_by_patient(tree: Tree, tmp_path: Path) -> None:
    entries = datasets.scan("limuc", made(tree, tmp_path))
    assert {e.split for e in entries} == {"train", "val", "test"}
    assert {e.group for e in entries if e.split == "val"} == {
        e.group for e in entries if limuc.fold_of(e.group) == 0
    } - {e.group for e in entries if e.split == "test"}
    for entry in entries:
        patient = int(Path(entry.path).stem.split("_")[2])
        assert entry.group == f"limuc/{patient}"
        assert entry.labels["mayo"] == str(patient % 4)


def test_limucs_folds_are_about_equal() -> None:
    counts = Counter(limuc.fold_of(f"limuc/{patient}") for patient in range(564))
    assert len(counts) == limuc.FOLDS
    assert 35 < min(counts.values()) <= max(counts.values()) < 80


def test_real_colon_frames_are_in_order_with_boxes_inside_the_picture(tmp_path: Path) -> None:
    entries = datasets.scan("real_colon", made(trees.real_colon, tmp_path))
    assert [(e.group, e.split, e.frame) for e in entries] == [
        (f"real_colon/{video}", split, time)
        for video, split in (("001-010", "train"), ("002-012", "val"), ("003-013", "test"))
        for time in (9, 10)
    ]
    free, lesion = entries[:2]
    assert (free.polyp_free, free.boxes) == (True, ())
    assert (lesion.polyp_free, lesion.boxes, lesion.lesions) == (False, ((40, 12, 96, 70),), ("real_colon/001-010_1",))


def test_sun_frames_with_and_without_polyps(tmp_path: Path) -> None:
    entries = datasets.scan("sun", made(trees.sun, tmp_path))
    assert [(e.group, e.frame, e.boxes, e.polyp_free) for e in entries] == [
        ("sun/case1", 0, ((0, 10, 50, 30),), False),
        ("sun/case1", 1, (), True),
        ("sun/negative-case1", 0, (), True),
        ("sun/negative-case1", 1, (), True),
    ]


def test_a_folders_table_gives_groups_and_terms(tmp_path: Path) -> None:
    entries = scanned("folder", trees.folder, tmp_path)
    assert [e.group for e in entries.values()] == ["exam_0", "exam_1", "exam_2", "exam_3"]
    assert not entries["kv1_c.jpg"].ships
    assert entries["a.jpg"].licence == hyperkvasir.TERMS.licence
    assert entries["d.jpg"].split == "val"


def test_a_folder_without_a_table_ships_only_if_its_owner_says_so(tmp_path: Path) -> None:
    trees.draw(tmp_path / "own/normal-cecum/a.jpg", 1)
    (entry,) = datasets.scan("folder", tmp_path / "own")
    assert (entry.dataset, entry.licence, entry.ships, entry.group) == (
        "own",
        "none stated",
        False,
        "own/normal-cecum/a",
    )
    (tmp_path / "own/dataset.toml").write_text('licence = "ours"\nships = true\n')
    (entry,) = datasets.scan("folder", tmp_path / "own")
    assert (entry.licence, entry.ships) == ("ours", True)


def test_the_phantom_is_rendered_when_loaded() -> None:
    """Out of order and again: the same pictures as the phantom draws in order."""
    entries = datasets.scan("phantom", Path("7:2:train"))
    assert [e.path for e in entries] == ["phantom:7:0", "phantom:7:1"]
    drawn = [picture for picture, _, _ in training_pictures(7, 2, 400, 320)]
    for index in (1, 0, 1):
        sample = datasets.load(entries[index], Path())
        assert sample.picture.shape == (*sample.mask.shape, 3)
        assert sample.picture.sum() == drawn[index].sum()  # what was cut away is black


# --------------------------------------------------------------------------------------- what is wrong is said by name


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rewritten(old: str, new: str) -> Callable[[Path], None]:
    return lambda path: (path.write_text(path.read_text().replace(old, new)), None)[1]


def resized_mask(path: Path) -> None:
    trees.draw_mask(path, (97, 80))


def renamed(name: str) -> Callable[[Path], None]:
    return lambda path: (path.rename(path.with_name(name)), None)[1]


def emptied(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()


def stray(path: Path) -> None:
    (path / "notes.docx").write_text("?")


WRONG: list[tuple[str, str, Callable[[Path], None], str]] = [
    ("kvasir_seg", "Kvasir-SEG/images/cju0qkwl35piu0993l0dewei2.jpg", cut_off, r"dewei2\.jpg: cannot be decoded"),
    ("kvasir_seg", "Kvasir-SEG/masks/cju0qkwl35piu0993l0dewei2.jpg", cut_off, r"masks/cju0qkwl35.*: cannot be decoded"),
    (
        "kvasir_seg",
        "Kvasir-SEG/masks/cju0qkwl35piu0993l0dewei2.jpg",
        resized_mask,
        r"mask is 97×80, its picture .* 96×80",
    ),
    ("kvasir_seg", "Kvasir-SEG/masks/cju0qkwl35piu0993l0dewei2.jpg", Path.unlink, r"dewei2\.jpg: no mask of that name"),
    ("kvasir_seg", "Kvasir-SEG/images/cju0qkwl35piu0993l0dewei2.jpg", Path.unlink, r"dewei2\.jpg: no picture of that"),
    ("kvasir_seg", "Kvasir-SEG/images", emptied, "images: empty, expected files"),
    ("kvasir_seg", "Kvasir-SEG/images", stray, r"notes\.docx: expected only files of \.jpg"),
    (
        "kvasir_seg",
        "Kvasir-SEG/kavsir_bboxes.json",
        rewritten("polyp", "fold"),
        "a box is labelled fold, expected polyp",
    ),
    ("kvasir_seg", "Kvasir-SEG/kavsir_bboxes.json", rewritten("96", "95"), "is 96×80, its annotation says 95×80"),
    (
        "kvasir_seg",
        "Kvasir-SEG/kavsir_bboxes.json",
        rewritten("cju0qo", "xyz"),
        r"399p4\.jpg: not in the boxes' file",
    ),
    ("cvc_clinicdb", "CVC-ClinicDB/Original/25.tif", renamed("x.tif"), r"x\.tif: no mask of that name"),
    ("cvc_clinicdb with a table", "frames.csv", rewritten("026,2", "028,2"), r"026\.jpg: not in .*frames\.csv"),
    ("cvc_clinicdb with a table", "frames.csv", rewritten("026,2", "026,two"), r"frames\.csv, line 4: Expected `int`"),
    (
        "hyperkvasir",
        "labeled-images/lower-gi-tract/anatomical-landmarks/cecum",
        renamed("caecum"),
        "caecum: unknown class",
    ),
    ("hyperkvasir", "labeled-images/lower-gi-tract/anatomical-landmarks/cecum", emptied, "cecum: empty, expected"),
    ("hyperkvasir", "labeled-images/image-labels.csv", rewritten(",cecum,", ",ileum,"), "says its class is ileum"),
    ("hyperkvasir", "labeled-images/image-labels.csv", rewritten("uuid-cecum", "uuid-x"), "says its class is None"),
    ("kvasir_v2", "kvasir-dataset-v2/polyps", renamed("cecum"), "cecum: unknown class, expected one of esophagitis"),
    ("limuc", "test_set/Mayo 3", renamed("Mayo 4"), "Mayo 4: unknown class, expected one of Mayo 0"),
    ("limuc", "test_set/Mayo 3", emptied, "Mayo 3: empty"),
    (
        "limuc by patient",
        "patient_based_classified_images/7",
        renamed("77"),
        "UC_patient_7_1.bmp: expected .* patient 77",
    ),
    ("real_colon", "001-010_annotations/001-010_9.xml", Path.unlink, r"001-010_9\.xml: missing"),
    ("real_colon", "001-010_annotations/001-010_9.xml", cut_off, r"001-010_9\.xml: not the Pascal VOC"),
    ("real_colon", "001-010_annotations/001-010_10.xml", rewritten(">lesion<", ">fold<"), "an object is a fold"),
    ("real_colon", "001-010_annotations/001-010_10.xml", rewritten(">40<", ">97<"), "has no area inside"),
    ("real_colon", "001-010_annotations/001-010_10.xml", rewritten(">96<", ">192<"), "its annotation says 192×80"),
    ("sun", "sundatabase_positive_part1/annotation_txt/case1.txt", rewritten("30,0", "30,7"), "line 1: expected FILE"),
    (
        "sun",
        "sundatabase_positive_part1/annotation_txt/case1.txt",
        rewritten("image0002", "image0003"),
        "0002.jpg: not in",
    ),
    ("sun", "sundatabase_positive_part1/annotation_txt", emptied, "annotation_txt: empty"),
    ("folder", "train/bbps-0-1/a.jpg", renamed("x.jpg"), r"x\.jpg: not in .*classification\.csv"),
    ("folder", "val/bbps-0-1", renamed("bbps-2-3"), r"not in .*classification\.csv"),
    ("folder", "val/bbps-0-1", renamed("BBPS"), "BBPS: unknown class"),
    ("folder", "val/bbps-0-1", emptied, "bbps-0-1: empty"),
    ("folder", "../classification.csv", rewritten(",val,", ",dev,"), "classification.csv, line 5: Invalid enum value"),
]


@pytest.mark.parametrize(("tree", "where", "harm", "said"), WRONG, ids=[f"{w[0]}: {w[3]}" for w in WRONG])
def test_what_is_wrong_is_named(tree: str, where: str, harm: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    layout, make = TREES[tree]
    root = made(make, tmp_path)
    harm(root / where)
    with pytest.raises(DatasetError, match=said):
        datasets.scan(layout, root)


@pytest.mark.parametrize("layout", sorted({layout for layout, _ in TREES.values()}))
def test_an_empty_or_missing_folder_is_named(layout: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(DatasetError, match=name):
            datasets.scan(layout, tmp_path / name)


@pytest.mark.parametrize("spec", ["7", "7:0", "7:3:dev", "a:3", "7:3:val:1"])
def test_a_phantom_that_makes_no_sense_is_refused(spec: str) -> None:
    with pytest.raises(DatasetError, match=spec):
        datasets.scan("phantom", Path(spec))
