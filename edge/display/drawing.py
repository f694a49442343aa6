"""Everything that is drawn over the picture, as SVG. Pure.

    +-----------------------+---------+
    |                       | WORD    |
    |   the picture,        +---------+
    |   boxes on it         | means   |
    |                       | detail  |
    |                       | alerts  |
    |                       | clock   |
    +-----------------------+---------+

One size of canvas, whatever comes in; the window's sink scales it. A word 64 px high of 720 has capitals of 2 cm on a
24-inch screen. The clock is there to be seen moving: a window that hangs shows an old picture and an old time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from xml.sax.saxutils import escape

from edge.display.banner import Row
from edge.display.wire import ShownBox
from edge.types import Field

WIDTH, HEIGHT = 1280, 720
STAGE = 880  # px of the width for the picture; the panel has the rest
MARGIN = 20
ALERTS = 3  # shown at most
_ROOM = WIDTH - STAGE - 2 * MARGIN
_WORD, _MEANS, _DETAIL, _ALERT, _LABEL, _CLOCK, _SMALL = 62, 32, 24, 30, 26, 38, 16  # px
_LINE = 1.25  # from one line to the next, in font sizes
_PANEL, _INK, _FAINT = "#14181d", "#ffffff", "#aeb6bf"
_MARK = "#56f0ff"  # of boxes: far from every colour of mucosa, and from its brightness
_FONT = "DejaVu Sans, Liberation Sans, sans-serif"
_NOTICE = "Not for diagnosis or for steering"
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML, escaped or not


class Rect(NamedTuple):
    """Canvas pixels."""

    x: int
    y: int
    width: int
    height: int


def place(width: int, height: int) -> Rect:
    """Where a picture of that size goes: as large as fits, in the middle of the stage."""
    scale = min(STAGE / width, HEIGHT / height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    return Rect((STAGE - w) // 2, (HEIGHT - h) // 2, w, h)


class Scene(NamedTuple):
    """What is to be seen now. `boxes` are drawn where `field` and `rect` say where the picture is."""

    row: Row
    clock: str
    detail: str = ""
    alerts: tuple[str, ...] = ()
    boxes: tuple[ShownBox, ...] = ()
    field: Field | None = None
    rect: Rect | None = None


def svg(scene: Scene) -> str:
    """The whole overlay, WIDTH x HEIGHT px."""
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="{_FONT}">']
    if scene.field is not None and scene.rect is not None:
        parts += _boxes(scene.boxes, scene.field, scene.rect)
    parts += _panel(scene)
    parts.append("</svg>")
    return "".join(parts)


def _panel(scene: Scene) -> Iterable[str]:
    row, x = scene.row, STAGE + MARGIN
    words = row.word.split(" ")
    lines = [" ".join(words[:-1]), words[-1]] if len(words) > 1 else words
    ground = MARGIN + round(2 * _WORD * _LINE) + MARGIN
    yield _rect(STAGE, 0, WIDTH - STAGE, HEIGHT, _PANEL)
    yield _rect(STAGE, 0, WIDTH - STAGE, ground, row.tone.ground)
    top = (ground - len(lines) * _WORD * _LINE) / 2
    for line in lines:
        yield _text(x, top, _WORD, line, row.tone.ink, True)
        top += _WORD * _LINE
    below: float = ground + MARGIN
    bottom = HEIGHT - MARGIN - _CLOCK * _LINE - _SMALL * _LINE
    blocks = [(row.means, _MEANS, _INK, False)]
    blocks += [(alert, _ALERT, _MARK, True) for alert in scene.alerts[:ALERTS]]
    blocks += [(scene.detail, _DETAIL, _FAINT, False)]  # last: it may take what room is left
    for text, size, colour, bold in blocks:
        for line in wrap(text, size, _ROOM, min(5, int((bottom - below) / (size * _LINE))), bold):
            yield _text(x, below, size, line, colour, bold)
            below += size * _LINE
        below += MARGIN / 2 if text else 0
    yield _text(x, bottom, _CLOCK, scene.clock, _INK)
    yield _text(x, bottom + _CLOCK * _LINE, _SMALL, _NOTICE, _FAINT)


def _boxes(boxes: Iterable[ShownBox], field: Field, rect: Rect) -> Iterable[str]:
    for shown in boxes:
        x0, y0, x1, y1 = on_canvas(shown.box, field, rect)
        if x1 - x0 < 1 or y1 - y0 < 1:
            continue
        dashes = "" if shown.confirmed else ' stroke-dasharray="14 10"'
        for colour, stroke in (("#000000", 8), (_MARK, 4)):  # dark round bright: seen on any ground
            yield (
                f'<rect x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}" fill="none"'
                f' stroke="{colour}" stroke-width="{stroke}"{dashes}/>'
            )
        [label] = wrap(f"{shown.label} {shown.score:.0%}", _LABEL, rect.width - 16, 1, shown.confirmed) or [""]
        width, height = _width(label, _LABEL, shown.confirmed) + 16, _LABEL * _LINE + 4
        x = max(rect.x, min(x0 - 4, rect.x + rect.width - width))
        y = _label_top(y0 - 4, y1 + 4, height, rect)
        yield _rect(x, y, width, height, "#000000")
        yield _text(x + 8, y + 2, _LABEL, label, _MARK, shown.confirmed)


def _label_top(y0: float, y1: float, height: float, rect: Rect) -> float:
    """Above the box where there is room, else below it, else in it."""
    if y0 - height >= rect.y:
        return y0 - height
    return y1 if y1 + height <= rect.y + rect.height else y0


def on_canvas(box: tuple[float, float, float, float], field: Field, rect: Rect) -> tuple[float, float, float, float]:
    """A box in source pixels, in canvas pixels, cut to the picture."""
    across, down = rect.width / field.width, rect.height / field.height
    x0, x1 = (min(max((x - field.x) * across, 0), rect.width) + rect.x for x in (box[0], box[2]))
    y0, y1 = (min(max((y - field.y) * down, 0), rect.height) + rect.y for y in (box[1], box[3]))
    return x0, y0, x1, y1


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _text(x: float, top: float, size: int, text: str, colour: str, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{top + size:.1f}" font-size="{size}" fill="{colour}"{weight}>{_clean(text)}</text>'


def _clean(text: str) -> str:
    return escape(_ILLEGAL.sub("?", text))


def wrap(text: str, size: int, room: float, most: int, bold: bool = False) -> list[str]:
    """`text` in at most `most` lines of `room` px, broken between words where it can be; "…" where it is cut."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        for piece in _pieces(word, size, room, bold):
            joined = f"{line} {piece}" if line else piece
            if line and _width(joined, size, bold) > room:
                lines.append(line)
                joined = piece
            line = joined
    lines += [line] if line else []
    if len(lines) <= most:
        return lines
    kept = lines[: max(0, most)]
    if kept:
        last = kept[-1]
        while last and _width(last + "…", size, bold) > room:
            last = last[:-1]
        kept[-1] = last + "…"
    return kept


def _pieces(word: str, size: int, room: float, bold: bool) -> Iterable[str]:
    """A word that is wider than a line, in pieces that are not."""
    piece = ""
    for char in word:
        if piece and _width(piece + char, size, bold) > room:
            yield piece
            piece = ""
        piece += char
    yield piece


_GROUPS = (("ijl|!.,:;' I()[]/f", 0.46), ("rt", 0.5), ("mwMWQO@%&+=<>~#^", 1.12))
_EM = {char: em for chars, em in _GROUPS for char in chars}


def _width(text: str, size: int, bold: bool) -> float:
    """Pixels, never too few: DejaVu Sans's widths, rounded up. What is not ASCII counts as more than a square."""
    ems = sum(_EM.get(c, (0.87 if c.isupper() else 0.74) if c.isascii() else 1.2) for c in text)
    return size * ems * (1 if bold else 0.9)
