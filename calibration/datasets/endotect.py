"""EndoTect 2020, segmentation task: 200 test pictures with masks (Hicks et al., ICPR 2021; endotect.com).

Its development data are HyperKvasir's own (layouts hyperkvasir and kvasir_seg). Expected, with or without the archive's
top folder EndoTect_2020_Segmentation_Test_Dataset:

    images/STEM.jpg  masks/STEM.png or .jpg

The archive states no licence, so weights trained on it never ship; it is a test set anyway.
"""

from __future__ import annotations

from pathlib import Path

from calibration.datasets._tree import Found, Terms, below, pairs

TERMS = Terms("none stated (EndoTect 2020 test data)", ships=False)


def found(root: Path) -> list[Found]:
    root = below(root, "EndoTect_2020_Segmentation_Test_Dataset")
    return [
        Found(path=picture, mask=mask, split="test", group=f"endotect/{picture.stem}", terms=TERMS)
        for picture, mask in pairs(root / "images", root / "masks")
    ]
