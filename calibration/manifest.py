"""The manifest: every picture a model may be made of or judged by, written once, one JSON object a line.

The first line is a Header, every other line an Entry. Paths are relative to the entry's dataset root, which the header
names; `endoedge-model manifest` writes the file and everything else only reads it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edge.types import Box, Struct

Split = Literal["train", "val", "test"]


class Root(Struct, frozen=True, kw_only=True):
    """Where one dataset lies: the layout that read it and its folder, absolute or relative to the manifest."""

    dataset: str
    layout: str  # the file of calibration/datasets/ that understands the folder
    path: str


class Header(Struct, frozen=True, kw_only=True):
    """The manifest's first line."""

    version: Literal[1] = 1
    roots: tuple[Root, ...]


class Entry(Struct, frozen=True, kw_only=True):
    """One picture, or one frame of a video. `labels` holds our words by head: {"landmark": "caecum"}."""

    dataset: str
    path: str  # relative to the dataset's root; "phantom:SEED:INDEX" for a picture that is rendered
    sha256: str
    split: Split
    group: str  # patient, sequence, video or exam day: never in two splits
    licence: str
    ships: bool  # may weights that leave the house be trained on it?
    mask: str = ""  # relative path of the polyp mask; "" where there is none
    mask_sha256: str = ""
    polyp_free: bool = False  # known to show no polyp: an empty mask is the truth
    burnt_in: bool = False  # recorder's text or inset in the corners: blacken before use
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    boxes: tuple[Box, ...] = ()  # xyxy in the picture's own pixels
    frame: int = -1  # index in the video; -1 for a still
    phash: str = ""  # perceptual hash, 16 hexadecimal digits, for near-duplicates
