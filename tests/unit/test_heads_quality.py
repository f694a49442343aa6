"""The quality head's table, and the mask of the field that its numbers come from."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge.errors import ModelError
from edge.heads import quality
from edge.types import Field, Quality, TensorSpec, View

GRID = 32
SPECS = (
    TensorSpec(name="thumbnail", dtype="float32", shape=(1, 3, GRID, GRID)),
    TensorSpec(name="detail", dtype="float32", shape=(1, 1, GRID, GRID)),
)
WHOLE = Field(x=0, y=0, width=640, height=640, outline=((0, 0), (640, 0), (640, 640), (0, 640)))
OCTAGON = Field(
    x=100,
    y=50,
    width=640,
    height=320,
    outline=((260, 50), (580, 50), (740, 130), (740, 290), (580, 370), (260, 370), (100, 290), (100, 130)),
)
MUCOSA = (180.0, 100.0, 80.0)
ROOM = (110.0, 115.0, 118.0)


def outputs(rgb: tuple[float, ...], detail: float = 9.0) -> dict[str, np.ndarray]:
    return {
        "thumbnail": np.broadcast_to(np.array(rgb, np.float32)[None, :, None, None], SPECS[0].shape).copy(),
        "detail": np.full(SPECS[1].shape, detail, np.float32),
    }


def judge(given: dict[str, np.ndarray], field: Field = WHOLE, **config: float) -> Quality:
    return quality.open(quality.Config(**config), SPECS).decode(given, field)


@pytest.mark.parametrize(
    ("rgb", "detail", "view", "reason"),
    [
        ((0, 0, 0), 0.0, View.BLACK, "black"),
        ((6, 3, 3), 0.5, View.BLACK, "black"),
        (ROOM, 9.0, View.OUT_OF_BODY, "not_red"),
        (ROOM, 0.5, View.OUT_OF_BODY, "not_red"),  # a blurred room is a room
        ((20, 22, 25), 9.0, View.OUT_OF_BODY, "not_red"),  # and so is a dark one
        ((255, 255, 255), 9.0, View.OUT_OF_BODY, "not_red"),  # a white wall
        ((40, 20, 18), 9.0, View.POOR, "dark"),
        ((40, 20, 18), 0.5, View.POOR, "dark"),
        ((255, 232, 190), 9.0, View.POOR, "glare"),
        ((240, 180, 140), 9.0, View.POOR, "glare"),  # washed out
        (MUCOSA, 0.5, View.POOR, "blur"),
        (MUCOSA, 9.0, View.GOOD, ""),
    ],
)
def test_table(rgb: tuple[float, ...], detail: float, view: View, reason: str) -> None:
    found = judge(outputs(rgb, detail))
    assert (found.view, found.reason) == (view, reason)


def test_measures() -> None:
    given = outputs((200.0, 100.0, 50.0), 12.5)
    given["thumbnail"][0, :, :8] = 255.0
    found = judge(given, red_below=0.0)
    luma = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    assert found.luma == pytest.approx((0.75 * luma + 0.25 * 255) / 255, abs=0.01)
    assert found.glare == pytest.approx(0.25)
    assert found.redness == pytest.approx((0.75 * 200 + 0.25 * 255) / (0.75 * 350 + 0.25 * 765), abs=0.01)
    assert found.detail == pytest.approx(12.5)


@pytest.mark.parametrize(
    ("key", "measure", "value", "reason"),
    [
        ("black_below", "luma", 0.3, "black"),
        ("red_below", "redness", 0.5, "not_red"),
        ("dark_below", "luma", 0.3, "dark"),
        ("glare_above", "glare", 0.2, "glare"),
        ("bright_above", "luma", 0.55, "glare"),
        ("blur_below", "detail", 5.0, "blur"),
    ],
)
def test_each_bound_decides_alone(key: str, measure: str, value: float, reason: str) -> None:
    fine = {"view": View.GOOD, "reason": "", "luma": 0.5, "glare": 0.1, "redness": 0.6, "detail": 10.0}
    rows = quality.table(quality.Config(**{key: value}))
    step = 1e-3 if reason == "glare" else -1e-3
    for beyond, expected in ((value + step, reason), (value, ""), (value - step, "")):
        assert quality.judge(Quality(**{**fine, measure: beyond}), rows).reason == expected


def test_outside_of_the_field_does_not_count() -> None:
    """White text beside the field, and the field's edge, change nothing."""
    mask = quality.inside(OCTAGON, GRID, GRID)
    given = outputs(MUCOSA)
    clean = judge(given, OCTAGON)
    given["thumbnail"][0, :, ~mask] = 255.0
    given["detail"][0, 0, ~mask] = 200.0
    assert judge(given, OCTAGON) == clean
    assert judge(given, WHOLE) != clean


def test_mask_follows_the_outline() -> None:
    """Against the true geometry: a counted cell and its neighbours lie inside, and two cells deep all are counted."""
    mask = quality.inside(OCTAGON, GRID, GRID)
    corners = np.array(OCTAGON.outline)
    edges = np.roll(corners, -1, axis=0) - corners
    normals = np.stack([-edges[:, 1], edges[:, 0]], axis=1) / np.linalg.norm(edges, axis=1)[:, None]
    across, down = OCTAGON.width / GRID, OCTAGON.height / GRID
    depth = np.empty(mask.shape)  # of a cell's outermost corner inside the nearest edge, px
    for row, column in np.ndindex(mask.shape):
        left, top = OCTAGON.x + column * across, OCTAGON.y + row * down
        cell = np.array([(left, top), (left + across, top), (left + across, top + down), (left, top + down)])
        depth[row, column] = ((cell[:, None] - corners[None]) * normals[None]).sum(axis=2).min()
    for row, column in np.argwhere(mask):
        assert depth[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].min() >= -across / quality.FINE
    assert mask[depth >= 2 * max(across, down)].all()


def test_a_new_field_is_noticed() -> None:
    head = quality.open(quality.Config(), SPECS)
    given = outputs(MUCOSA)
    given["thumbnail"][0, :, :10] = 0.0
    given["thumbnail"][0, :, :, :10] = 0.0
    whole, octagon = head.decode(given, WHOLE), head.decode(given, OCTAGON)
    assert whole != octagon
    assert head.decode(given, WHOLE) == whole
    assert head.decode(given, OCTAGON) == octagon == judge(given, OCTAGON)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 3e38])
def test_garbage_is_bounded(value: float) -> None:
    given = outputs(MUCOSA)
    given["thumbnail"][0, 1, 5:20] = value
    given["detail"][0, 0, 5:20] = value
    found = judge(given)
    for measure, top in (("luma", 1), ("glare", 1), ("redness", 1), ("detail", 255)):
        assert 0 <= getattr(found, measure) <= top


def test_a_dead_output_reads_as_black() -> None:
    assert judge(outputs((math.nan,) * 3, math.nan)).view is View.BLACK


def test_grids_must_agree() -> None:
    other = TensorSpec(name="detail", dtype="float32", shape=(1, 1, 16, 16))
    with pytest.raises(ModelError, match=r'quality.*"detail".*\(1, 1, 16, 16\).*expected the grid of "thumbnail"'):
        quality.open(quality.Config(), (SPECS[0], other))
