"""The pictures that went worst, drawn for people: what is true in green, what was marked in red."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from calibration.pictures import Picture

TILE, CAPTION, COLUMNS = 240, 22, 4  # px, px, tiles
GREEN, RED, INK = (40, 230, 70), (255, 60, 60), (240, 240, 240)


@dataclass(frozen=True)
class Failure:
    """One picture RGB (H, W, 3), masks uint8 (H, W) of what is true and what was found, and its Dice."""

    name: str
    dice: float
    picture: Picture
    truth: Picture
    found: Picture


def sheet(failures: Sequence[Failure]) -> Picture:
    """A contact sheet, RGB."""
    rows = -(-len(failures) // COLUMNS)
    paper = np.full((rows * (TILE + CAPTION), COLUMNS * TILE, 3), 24, np.uint8)
    for place, failure in enumerate(failures):
        y, x = place // COLUMNS * (TILE + CAPTION), place % COLUMNS * TILE
        paper[y : y + TILE, x : x + TILE] = _tile(failure)
        caption = f"{failure.dice:.2f}  {failure.name[-26:]}"
        cv2.putText(paper, caption, (x + 4, y + TILE + 15), cv2.FONT_HERSHEY_SIMPLEX, 0.4, INK, 1, cv2.LINE_AA)
    return paper


def _tile(failure: Failure) -> Picture:
    tile = cv2.resize(failure.picture, (TILE - 2, TILE - 2), interpolation=cv2.INTER_AREA)
    for mask, ink in ((failure.truth, GREEN), (failure.found, RED)):
        small = cv2.resize(mask, (TILE - 2, TILE - 2), interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(small, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tile, outlines, -1, ink, 1, cv2.LINE_AA)
    return np.pad(np.asarray(tile, np.uint8), ((1, 1), (1, 1), (0, 0)))
