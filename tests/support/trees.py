"""Tiny data sets in the structure their authors publish, with pictures that a test draws."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = (96, 80)  # width, height


def picture(seed: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """A scene of its own for every seed: shading, folds and spots, (H, W, 3) uint8."""
    rng, (w, h) = np.random.default_rng(seed), size
    coarse = cv2.resize(rng.uniform(60, 200, (5, 6, 3)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    fine = cv2.resize(rng.uniform(-40, 40, (h // 4, w // 4)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + fine[..., None], 0, 255).astype(np.uint8)


def draw(path: Path, seed: int, size: tuple[int, int] = SIZE) -> Path:
    """A picture file; its suffix says which kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture(seed, size))
    return path


def draw_mask(path: Path, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size[::-1], np.uint8)
    mask[10:30, 20:50] = 255
    assert cv2.imwrite(str(path), mask)
    return path


def kvasir_seg(root: Path) -> None:
    """Both archives: images/, masks/, the boxes' file as it is spelt."""
    stems = ("cju0qkwl35piu0993l0dewei2", "cju0qoxqj9q6s0835b43399p4")
    for seed, stem in enumerate(stems):
        draw(root / "Kvasir-SEG/images" / f"{stem}.jpg", seed)
        draw_mask(root / "Kvasir-SEG/masks" / f"{stem}.jpg")
    box = {"label": "polyp", "xmin": 20, "ymin": 10, "xmax": 50, "ymax": 30}
    boxes = {stem: {"height": SIZE[1], "width": SIZE[0], "bbox": [box]} for stem in stems}
    (root / "Kvasir-SEG/kavsir_bboxes.json").write_text(json.dumps(boxes))


def kvasir_seg_split(root: Path) -> None:
    for split, stems in (("train", "01"), ("val", "0")):
        for stem in stems:
            draw(root / split / "images" / f"{stem}.jpg", hash_of(split + stem))
            draw_mask(root / split / "masks" / f"{stem}.png")


def hash_of(text: str) -> int:
    return sum(map(ord, text))


def cvc_clinicdb(root: Path) -> None:
    """Frames 25 and 26 are of different sequences, 26 and 27 of the same."""
    for number in (25, 26, 27):
        draw(root / "CVC-ClinicDB/Original" / f"{number}.tif", number)
        draw_mask(root / "CVC-ClinicDB/Ground Truth" / f"{number}.tif")


def cvc_clinicdb_table(root: Path) -> None:
    rows = ["frame,sequence,boxes_xyxy,mask_fraction"]
    for number, sequence in ((1, 1), (2, 1), (26, 2)):
        draw(root / "images" / f"{number:03}.jpg", number)
        draw_mask(root / "masks" / f"{number:03}.png")
        rows.append(f'{number:03},{sequence},"[[20, 10, 50, 30]]",0.08')
    (root / "frames.csv").write_text("\n".join(rows) + "\n")


def endotect(root: Path) -> None:
    folder = root / "EndoTect_2020_Segmentation_Test_Dataset"
    for seed, stem in enumerate(("ckcu8w7vy", "ckcu9ksoq")):
        draw(folder / "images" / f"{stem}.jpg", seed)
        draw_mask(folder / "masks" / f"{stem}.png")


HYPERKVASIR = {
    "lower-gi-tract/anatomical-landmarks": ("cecum", "ileum", "retroflex-rectum"),
    "lower-gi-tract/pathological-findings": (
        "hemorrhoids",
        "polyps",
        "ulcerative-colitis-grade-0-1",
        "ulcerative-colitis-grade-1",
        "ulcerative-colitis-grade-1-2",
        "ulcerative-colitis-grade-2",
        "ulcerative-colitis-grade-2-3",
        "ulcerative-colitis-grade-3",
    ),
    "lower-gi-tract/quality-of-mucosal-views": ("bbps-0-1", "bbps-2-3", "impacted-stool"),
    "lower-gi-tract/therapeutic-interventions": ("dyed-lifted-polyps", "dyed-resection-margins"),
    "upper-gi-tract/anatomical-landmarks": ("pylorus", "retroflex-stomach", "z-line"),
    "upper-gi-tract/pathological-findings": ("barretts", "barretts-short-segment", "esophagitis-a", "esophagitis-b-d"),
}


def hyperkvasir(root: Path) -> None:
    """All 23 classes, and the table of labels."""
    rows = ["Video file,Organ,Finding,Classification"]
    for folder, classes in HYPERKVASIR.items():
        organ, kind = folder.split("/")
        for name in classes:
            draw(root / "labeled-images" / folder / name / f"uuid-{name}.jpg", hash_of(name))
            rows.append(f"uuid-{name},{organ[:5].title()} GI,{name},{kind}")
    (root / "labeled-images/image-labels.csv").write_text("\n".join(rows) + "\n")


def kvasir_v2(root: Path) -> None:
    names = "dyed-lifted-polyps dyed-resection-margins esophagitis normal-cecum normal-pylorus normal-z-line polyps"
    for name in (*names.split(), "ulcerative-colitis"):
        draw(root / "kvasir-dataset-v2" / name / f"uuid-{name}.jpg", hash_of(name))


def limuc(root: Path) -> None:
    for patient in range(1, 31):
        draw(root / "train_and_validation_sets" / f"Mayo {patient % 4}" / f"UC_patient_{patient}_1.bmp", patient)
    for patient in range(31, 35):
        draw(root / "test_set" / f"Mayo {patient % 4}" / f"UC_patient_{patient}_7.bmp", patient)


def limuc_patients(root: Path) -> None:
    for patient in range(1, 31):
        folder = root / "patient_based_classified_images" / str(patient)
        for score in range(4):
            (folder / f"Mayo {score}").mkdir(parents=True)
        draw(folder / f"Mayo {patient % 4}" / f"UC_patient_{patient}_1.bmp", patient)


VOC = """<annotation>
  <folder>{video}_frames</folder><filename>{video}_{time}.jpg</filename>
  <source><database>cosmoimd</database><release>v1.0_20230228</release></source>
  <size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>{objects}
</annotation>"""
OBJECT = """<object><name>lesion</name><unique_id>{video}_1</unique_id><box_id>1</box_id>
  <bndbox><xmin>40</xmin><xmax>97</xmax><ymin>12</ymin><ymax>70</ymax></bndbox></object>"""


def real_colon(root: Path) -> None:
    """Three videos, one of each split; frames 9 and 10, which sort wrongly by name; the last frame has a lesion."""
    for video in ("001-010", "002-012", "003-013"):
        for time in (9, 10):
            draw(root / f"{video}_frames" / f"{video}_{time}.jpg", hash_of(video) + time)
            objects = OBJECT.format(video=video) if time == 10 else ""
            path = root / f"{video}_annotations" / f"{video}_{time}.xml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(VOC.format(video=video, time=time, size=SIZE, objects=objects))
    (root / "video_info.csv").write_text("unique_video_name,age,sex,endoscope_brand,fps,num_frames,num_lesions,bbps\n")


def sun(root: Path) -> None:
    lines = []
    for number in (1, 2):
        name = f"case_M_20181001100941_0U62372100109341_1_005_001-1_a13_ayy_image000{number}.jpg"
        draw(root / "sundatabase_positive_part1/case1" / name, number)
        lines.append(f"{name} -4,10,50,30,{0 if number == 1 else 1}")
        draw(root / "sundatabase_negative_part1/case1" / f"case_M_2018_image000{number}.jpg", 10 + number)
    annotations = root / "sundatabase_positive_part1/annotation_txt"
    annotations.mkdir()
    (annotations / "case1.txt").write_text("\n".join(lines) + "\n")


def folder(root: Path) -> None:
    """Class folders below two splits, and above them the table with groups."""
    files = ("train/bbps-0-1/a.jpg", "train/normal-cecum/b.jpg", "train/normal-cecum/kv1_c.jpg", "val/bbps-0-1/d.jpg")
    rows = ["path,dataset,label,split,group"]
    for seed, file in enumerate(files):
        draw(root / file, seed)
        split, label, _ = file.split("/")
        source = "Kvasir v1/v2 (UUID not in HyperKvasir)" if "kv1_" in file else "HyperKvasir labeled"
        rows.append(f"{root.name}/{file},{source},{label},{split},exam_{seed}")
    (root.parent / "classification.csv").write_text("\n".join(rows) + "\n")
