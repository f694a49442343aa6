"""What the display says and draws: every state has its word, every word its room, every box its place."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageFont

from edge.capture import gst
from edge.display import banner, drawing, window
from edge.display.banner import NO_ANSWER, STALE_NS, STATES, VIEWS, Row
from edge.display.drawing import HEIGHT, STAGE, WIDTH, Rect, Scene
from edge.display.wire import Shown, ShownBox
from edge.types import Field, SignalState, View

ROOT = Path(__file__).parents[2]
ROWS = [*VIEWS.values(), *STATES.values(), NO_ANSWER]
FIELD = Field(x=600, y=100, width=1100, height=924, outline=((600, 100), (1700, 100), (1700, 1024), (600, 1024)))
NASTY = "<script>&amp;\"'\x00\x1b[31m\ufffe\ud800 ]]> </text></svg> %s 息肉 🩺"
NOW = 10 * STALE_NS


# ---------------------------------------------------------------------------------------------- banner


def test_every_state_and_every_view_has_a_row() -> None:
    assert set(STATES) == set(SignalState) - {SignalState.LIVE}
    assert set(VIEWS) == {*View, None}


@pytest.mark.parametrize("state", SignalState)
@pytest.mark.parametrize("view", [*View, None])
def test_only_a_live_picture_is_shown_and_only_a_good_one_is_active(state: SignalState, view: View | None) -> None:
    row = banner.choose(Shown(said_ns=NOW, state=state, view=view), NOW)
    live = state is SignalState.LIVE
    assert row.picture == live
    assert (row.word == "ACTIVE") == (live and view in (View.GOOD, None))
    assert row.boxes <= row.picture
    assert live or "nalysed" in row.means or state is SignalState.ENDED


def test_silence_is_not_the_last_thing_heard() -> None:
    shown = Shown(said_ns=NOW, state=SignalState.LIVE, view=View.GOOD)
    assert banner.choose(shown, NOW + STALE_NS).word == "ACTIVE"
    assert banner.choose(shown, NOW + STALE_NS + 1) is NO_ANSWER
    assert banner.choose(None, NOW) is NO_ANSWER


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.word)
def test_words_can_be_read(row: Row) -> None:
    """WCAG's contrast; 4.5 is asked for small print."""
    bright, dark = sorted((_luminance(colour) for colour in row.tone), reverse=True)
    assert (bright + 0.05) / (dark + 0.05) >= 4.5


def _luminance(colour: str) -> float:
    channels = [value / 255 for value in bytes.fromhex(colour[1:])]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_docs_have_this_table() -> None:
    assert banner.table() in (ROOT / "docs" / "display.md").read_text(encoding="utf-8")


# --------------------------------------------------------------------------------------------- drawing


@settings(deadline=None)  # machines that run tests are busy
@given(label=st.text(), detail=st.text(max_size=400), alerts=st.lists(st.text(), max_size=5))
def test_any_text_makes_well_formed_svg(label: str, detail: str, alerts: list[str]) -> None:
    boxes = (ShownBox(label=label + NASTY, box=(700, 200, 900, 400), score=0.5, confirmed=True),)
    rect = drawing.place(FIELD.width, FIELD.height)
    row = VIEWS[View.GOOD]
    scene = Scene(row, label, detail=detail + NASTY, alerts=(*alerts, NASTY), boxes=boxes, field=FIELD, rect=rect)
    ElementTree.fromstring(drawing.svg(scene).encode())


@settings(deadline=None)  # machines that run tests are busy
@given(st.integers(1, 8000), st.integers(1, 8000))
def test_a_picture_fills_the_stage_and_stays_in_it(width: int, height: int) -> None:
    x, y, w, h = drawing.place(width, height)
    assert x >= 0
    assert y >= 0
    assert x + w <= STAGE
    assert y + h <= HEIGHT
    assert w == STAGE or h == HEIGHT
    assert abs(w * height - h * width) <= max(width, height), "not its own proportions"


@settings(deadline=None)  # machines that run tests are busy
@given(st.text(max_size=200), st.integers(0, 5), st.booleans())
def test_lines_fit(text: str, most: int, bold: bool) -> None:
    lines = drawing.wrap(text, 24, 300, most, bold)
    assert len(lines) <= most
    assert all(drawing._width(line, 24, bold) <= 300 for line in lines)
    if not lines or not lines[-1].endswith("…"):
        assert most == 0 or "".join("".join(lines).split()) == "".join(text.split())


def test_letters_are_not_wider_than_is_reckoned() -> None:
    for name, bold in (("DejaVuSans.ttf", False), ("DejaVuSans-Bold.ttf", True)):
        try:
            font = ImageFont.truetype(name, 100)
        except OSError:
            pytest.skip("the DejaVu fonts are not installed (apt-get install fonts-dejavu-core)")
        letters = [chr(code) for code in (*range(0x20, 0x7F), *range(0xA1, 0x180), 0x2026)]
        assert [c for c in letters if font.getlength(c) > drawing._width(c, 100, bold)] == []


def test_a_box_lies_where_it_was_seen() -> None:
    rect = Rect(12, 0, 857, 720)
    assert drawing.on_canvas((600, 100, 1700, 1024), FIELD, rect) == (12, 0, 869, 720)
    assert drawing.on_canvas((1150, 562, 1700, 1024), FIELD, rect) == (12 + 857 / 2, 360, 869, 720)
    assert drawing.on_canvas((0, 0, 4000, 4000), FIELD, rect) == (12, 0, 869, 720), "beyond the picture"


# ---------------------------------------------------------------------------------------------- pixels

Pixels = npt.NDArray[np.uint8]
Render = Callable[[window.Painter], Pixels]


@pytest.fixture
def render(tmp_path: Path) -> Render:
    """A painter's canvas with its overlay, as librsvg draws it: (H, W, 3) BGR."""
    lacking = gst.missing_elements(["rsvgoverlay", "pngenc"])
    if lacking:
        pytest.skip(f"GStreamer has no {', '.join(lacking)} here")

    def rendered(painter: window.Painter) -> Pixels:
        file = tmp_path / "screen.png"
        file.unlink(missing_ok=True)
        screen = gst.Screen(
            f"videoconvert ! pngenc ! multifilesink async=false location={file}", (WIDTH, HEIGHT), "test"
        )
        try:
            screen.paint(*painter.paint(NOW, "12:34:56"))
            deadline = time.monotonic() + 30
            while not file.exists():
                assert not screen.closed
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            screen.close()
        pixels = cv2.imread(str(file))
        assert pixels is not None
        return np.asarray(pixels, np.uint8)

    return rendered


def _live(**more: Any) -> Shown:
    """A good view, all grey."""
    grey = cv2.imencode(".jpg", np.full((462, 550, 3), 90, np.uint8))[1].tobytes()
    picture = {"jpeg": grey, "captured_ns": NOW, "field": FIELD}
    return Shown(**{"said_ns": NOW, "state": SignalState.LIVE, "view": View.GOOD, **picture, **more})


def test_boxes_are_drawn_where_they_belong(render: Render) -> None:
    painter = window.Painter()
    sure = ShownBox(label="polyp", box=(900, 300, 1100, 500), score=0.9, confirmed=True)
    unsure = ShownBox(label="polyp", box=(1300, 700, 1500, 900), score=0.4, confirmed=False)
    painter.hear(_live(boxes=(sure, unsure)))
    pixels = render(painter)
    marked = np.all(np.abs(pixels.astype(int) - (0xFF, 0xF0, 0x56)) < 40, axis=2)
    rect = drawing.place(550, 462)
    for shown, most in ((sure, 1.0), (unsure, 0.8)):
        x0, y0, x1, y1 = (round(edge) for edge in drawing.on_canvas(shown.box, FIELD, rect))
        edges = [marked[y0, x0:x1], marked[y1, x0:x1], marked[y0:y1, x0], marked[y0:y1, x1]]
        assert all(most - 0.4 < edge.mean() <= most for edge in edges)
        assert not marked[y0 + 8 : y1 - 8, x0 + 8 : x1 - 8].any(), "something is drawn over the finding"
    assert np.all(np.abs(pixels[600, 200].astype(int) - 90) < 4)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.word}-{row.means[:12]}")
def test_no_text_is_cut_off(render: Render, row: Row) -> None:
    """The panel's margin stays clean, however long the words are."""

    class Painter(window.Painter):
        def paint(self, now_ns: int, clock: str) -> tuple[Pixels, str]:
            canvas, _ = super().paint(now_ns, clock)
            alerts = ("Polyp W" * 9, "m" * 90, "third alert", "fourth")
            return canvas, drawing.svg(Scene(row, clock, detail="/dev/" + "WIDE" * 60, alerts=alerts))

    pixels = render(Painter())
    margin = pixels[:, WIDTH - 12 :].reshape(-1, 3)
    assert len(np.unique(margin, axis=0)) == 2, "text runs into the margin"  # the word's ground and the panel's
    assert len(np.unique(pixels[HEIGHT - 8 :, STAGE + 2 :].reshape(-1, 3), axis=0)) == 1
    assert not pixels[:, : STAGE - 2].any()


# ----------------------------------------------------------------------------------------------- paint


def test_what_is_not_new_is_not_shown() -> None:
    painter = window.Painter()

    def stage(now_ns: int) -> tuple[bool, str]:
        canvas, overlay = painter.paint(now_ns, "")
        return bool(canvas[:, :STAGE, :3].any()), overlay

    box = ShownBox(label="polyp", box=(900, 300, 1100, 500), score=0.9, confirmed=True)
    painter.hear(_live(boxes=(box,)))
    lit, overlay = stage(NOW)
    assert lit
    assert "polyp" in overlay

    lit, overlay = stage(NOW + STALE_NS + 1)
    assert not lit
    assert "NO" in overlay
    assert "polyp" not in overlay

    # The core says that it is live, but its pictures stopped.
    painter.hear(_live(said_ns=NOW + 2 * STALE_NS, jpeg=b"", boxes=(box,)))
    lit, overlay = stage(NOW + 2 * STALE_NS)
    assert not lit
    assert "ACTIVE" in overlay
    assert "no picture to show here" in overlay
    assert "polyp" not in overlay


@pytest.mark.parametrize("jpeg", [b"junk", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"])
def test_a_broken_picture_is_none(jpeg: bytes) -> None:
    painter = window.Painter()
    painter.hear(_live(jpeg=jpeg))
    canvas, overlay = painter.paint(NOW, "")
    assert not canvas[:, :STAGE, :3].any()
    assert "no picture to show here" in overlay
