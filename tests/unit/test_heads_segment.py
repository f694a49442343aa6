"""The segment head on maps whose answer is known."""

from __future__ import annotations

import math
import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ConfigError
from edge.heads import open_all, segment
from edge.types import Detection, Field, TensorSpec

SIZE = 128
SPEC = TensorSpec(name="polyp", dtype="float32", shape=(1, 1, SIZE, SIZE))
SQUARE = Field(x=0, y=0, width=SIZE, height=SIZE, outline=((0, 0), (SIZE, 0), (SIZE, SIZE), (0, SIZE)))
STRETCHED = Field(x=210, y=33, width=1003, height=517, outline=((210, 33), (1213, 33), (1213, 550), (210, 550)))


def decode(logits: np.ndarray, field: Field = SQUARE, **config: object) -> tuple[Detection, ...]:
    spec = TensorSpec(name="polyp", dtype="float32", shape=(1, 1, *logits.shape))
    head = segment.open(segment.Config(**config), (spec,))
    return head.decode({"polyp": logits.astype(np.float32)[None, None]}, field)


def blank() -> np.ndarray:
    return np.full((SIZE, SIZE), -5.0, np.float32)


def test_nothing() -> None:
    assert decode(blank()) == ()


rectangles = st.tuples(st.integers(0, 100), st.integers(0, 100), st.integers(4, 28), st.integers(4, 28))


@given(rectangle=rectangles, field=st.sampled_from([SQUARE, STRETCHED]))
def test_a_rectangle_is_found_exactly(rectangle: tuple[int, int, int, int], field: Field) -> None:
    left, top, width, height = rectangle
    logits = blank()
    logits[top : top + height, left : left + width] = 2.0
    (found,) = decode(logits, field, min_area=0.0)
    across, down = field.width / SIZE, field.height / SIZE
    expected = (left * across, top * down, (left + width) * across, (top + height) * down)
    assert found.box == pytest.approx(np.add(expected, (field.x, field.y) * 2).tolist())
    assert found.area == pytest.approx(width * height / SIZE**2)
    assert found.score == pytest.approx(1 / (1 + math.exp(-2)))


@given(
    centre=st.tuples(st.floats(250, 1100), st.floats(80, 500)),
    radii=st.tuples(st.floats(30, 90), st.floats(20, 60)),
)
def test_an_ellipse_in_source_pixels_is_found_to_a_cell(
    centre: tuple[float, float], radii: tuple[float, float]
) -> None:
    """Drawn where the camera sees it, sampled as the model samples the field, found where it was drawn."""
    field = STRETCHED
    across, down = field.width / SIZE, field.height / SIZE
    x = field.x + (np.arange(SIZE) + 0.5) * across
    y = field.y + (np.arange(SIZE) + 0.5) * down
    logits = 4.0 * (1 - np.hypot((x[None] - centre[0]) / radii[0], (y[:, None] - centre[1]) / radii[1]))
    (found,) = decode(logits, field, min_area=0.0)
    truth = (
        max(centre[0] - radii[0], field.x),
        max(centre[1] - radii[1], field.y),
        min(centre[0] + radii[0], field.x + field.width),
        min(centre[1] + radii[1], field.y + field.height),
    )
    assert np.abs(np.subtract(found.box, truth))[[0, 2]].max() <= across
    assert np.abs(np.subtract(found.box, truth))[[1, 3]].max() <= down


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_threshold_is_a_probability(threshold: float) -> None:
    logit = math.log(threshold / (1 - threshold))
    logits = blank()
    logits[10:20, 10:20] = logit + 0.01
    logits[40:50, 40:50] = logit - 0.01
    (found,) = decode(logits, threshold=threshold)
    assert found.box == (10, 10, 20, 20)


def test_small_regions_are_dropped_and_the_largest_kept() -> None:
    logits = blank()
    for n, size in enumerate((3, 5, 7, 9, 11)):
        logits[20 * n : 20 * n + size, :size] = 1.0 + n
    cells = [round(d.area * SIZE**2) for d in decode(logits, min_area=25 / SIZE**2, max_regions=3)]
    assert cells == [121, 81, 49]  # by score, which rises with size here
    assert len(decode(logits, min_area=25 / SIZE**2)) == 4


def test_sorted_by_score_not_by_size() -> None:
    logits = blank()
    logits[0:30, 0:30] = 1.0
    logits[60:70, 60:70] = 3.0
    assert [d.box[0] for d in decode(logits)] == [60, 0]


def test_score_is_the_top_quarter() -> None:
    logits = blank()
    logits[0:10, 0:10] = 1.0
    logits[0:5, 0:5] = 3.0
    assert decode(logits)[0].score == pytest.approx(1 / (1 + math.exp(-3)))
    logits[2, 2] = 80.0  # one wild cell is not the answer
    assert decode(logits)[0].score < 1 / (1 + math.exp(-7))


def test_corners_touch() -> None:
    logits = blank()
    logits[10:20, 10:20] = logits[20:30, 20:30] = 2.0
    (found,) = decode(logits)
    assert found.box == (10, 10, 30, 30)


def test_a_neighbour_in_the_box_is_not_counted() -> None:
    """Two regions whose boxes overlap keep their own cells and scores."""
    logits = blank()
    logits[10:40, 10:13] = logits[37:40, 10:40] = 1.0  # an L
    logits[10:20, 25:35] = 3.0  # inside the L's box
    high, low = decode(logits)
    assert (high.score, low.score) == (pytest.approx(1 / (1 + math.exp(-3))), pytest.approx(1 / (1 + math.exp(-1))))


def test_not_a_number_is_no_region() -> None:
    logits = blank()
    logits[10:20, 10:20] = math.nan
    logits[40:50, 40:50] = math.inf
    (found,) = decode(logits)
    assert (found.box, found.score) == ((40, 40, 50, 50), 1.0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (7, 3), (640, 640)])
def test_any_size_of_map(shape: tuple[int, int]) -> None:
    (found,) = decode(np.full(shape, 1.0), min_area=0.0)
    assert found.box == (0, 0, SIZE, SIZE)
    checkers = np.full(shape, -1.0)
    checkers[::2, ::2] = 1.0
    assert len(decode(checkers, min_area=0.0, max_regions=32)) == min(32, -(-shape[0] // 2) * -(-shape[1] // 2))


@pytest.mark.parametrize(("key", "value"), [("threshold", 0.0), ("min_area", 0.6), ("max_regions", 0), ("label", 3)])
def test_ranges(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"heads\[0\].*{key}"):
        open_all([{"kind": "segment", key: value}], (SPEC,))


def test_python_runs_per_region_never_per_pixel() -> None:
    """Every loop in the head is bounded by `max_regions`: a map four times the size runs not one line more."""

    def lines_run(size: int) -> int:
        head = segment.open(segment.Config(), (TensorSpec(name="polyp", dtype="float32", shape=(1, 1, size, size)),))
        logits = np.full((1, 1, size, size), -5.0, np.float32)
        logits[..., : size // 3, : size // 3] = logits[..., size // 2 :, size // 2 :] = 2.0
        count = 0

        def trace(frame: types.FrameType, event: str, _: object) -> object:
            nonlocal count
            if frame.f_code.co_filename != segment.__file__:
                return None
            count += event == "line"
            return trace

        previous = sys.gettrace()
        sys.settrace(trace)
        try:
            head.decode({"polyp": logits}, SQUARE)
        finally:
            sys.settrace(previous)
        return count

    assert 0 < lines_run(32) == lines_run(256)
