"""LIMUC: 11,276 pictures 352×288 of 564 patients with ulcerative colitis, Mayo 0-3 (Polat et al., Inflammatory Bowel
Diseases 2023; Zenodo 5827695), CC BY 4.0. Expected, either of the published trees, in a folder LIMUC or not:

    train_and_validation_sets/Mayo K/UC_patient_P_N.bmp  test_set/Mayo K/UC_patient_P_N.bmp
    patient_based_classified_images/P/Mayo K/UC_patient_P_N.bmp

The two show the same pictures; where both are there, the first is used. A patient is a group, from the file's name,
and patients are dealt into FOLDS folds by a digest of their number: fold 0 is `val`, and where the published test set
is not there fold 1 is `test`. `fold_of` is for cross-validation.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from calibration.datasets._tree import Found, Terms, below, files_in, folders_in
from calibration.manifest import Split
from calibration.pictures import DatasetError

TERMS = Terms("CC BY 4.0 (LIMUC)", ships=True)
FOLDS = 10
CLASSES = {f"Mayo {score}": str(score) for score in range(4)}
_NAME = re.compile(r"UC_patient_(\d+)_\d+")


def fold_of(group: str) -> int:
    """The fold of a patient's group, 0 to FOLDS - 1; it depends on nothing but the name."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") % FOLDS


def found(root: Path) -> list[Found]:
    root = below(root, "LIMUC")
    training, test = root / "train_and_validation_sets", root / "test_set"
    if training.is_dir() or test.is_dir():
        return [_one(picture, score, {0: "val"}) for picture, score in _graded(training)] + [
            _one(picture, score, dict.fromkeys(range(FOLDS), "test")) for picture, score in _graded(test)
        ]
    patients = folders_in(root / "patient_based_classified_images")
    if not patients:
        raise DatasetError(f"{root}: no patients in patient_based_classified_images")
    return [
        _one(picture, score, {0: "val", 1: "test"}, patient.name)
        for patient in patients
        for picture, score in _graded(patient, partly=True)
    ]


def _graded(folder: Path, partly: bool = False) -> list[tuple[Path, str]]:
    """(picture, Mayo score) of a folder of class folders; a single patient need not have pictures in all of them."""
    result = []
    for grade in folders_in(folder):
        if grade.name not in CLASSES:
            raise DatasetError(f"{grade}: unknown class, expected one of {', '.join(CLASSES)}")
        if not partly or any(grade.iterdir()):
            result += [(picture, CLASSES[grade.name]) for picture in files_in(grade)]
    if not result:
        raise DatasetError(f"{folder}: no pictures, expected folders {', '.join(CLASSES)}")
    return result


def _one(picture: Path, score: str, held_out: dict[int, Split], patient: str = "") -> Found:
    """One picture; `held_out` says which folds are not for training."""
    match = _NAME.fullmatch(picture.stem)
    if not match or patient not in ("", match[1]):
        raise DatasetError(f"{picture}: expected a name UC_patient_P_N with P the patient {patient}".rstrip())
    group = f"limuc/{match[1]}"
    return Found(
        path=picture,
        split=held_out.get(fold_of(group), "train"),
        group=group,
        terms=TERMS,
        labels={"mayo": score, "finding": "ulcerative-colitis"},
    )
