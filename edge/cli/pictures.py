"""What a replay looks like: a contact sheet of frames with boxes, and a timeline. PNG files, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from edge.cli.scoring import KnownClip, Scene
from edge.messages import Alert, AlertCleared, Event, LandmarkReached
from edge.types import Box, Classification, Detection, Field, Findings, View

TILE_PX = 256
COLUMNS = 6
CAPTION_PX = 34
INK, PAPER, MUTED = (235, 238, 242), (18, 22, 28), (120, 130, 142)
BOX, ALARM, LANDMARK = (90, 220, 255), (255, 196, 0), (190, 150, 255)
VIEWS = {
    View.GOOD: (64, 160, 96),
    View.POOR: (196, 148, 40),
    View.OUT_OF_BODY: (70, 96, 150),
    View.BLACK: (58, 62, 70),
}


At = Callable[[int], float]  # media time to x


class Picture(NamedTuple):
    """What the model saw: RGB uint8 (H, W, 3), and where that lies in the source."""

    rgb: npt.NDArray[np.uint8]
    field: Field


class Tile(NamedTuple):
    picture: Picture
    moment: Findings
    alerts: Sequence[Alert]


def contact_sheet(tiles: Sequence[Tile], path: Path) -> None:
    """One tile a kept frame: its boxes, and in yellow what was alerted at that very frame."""
    rows = max(1, -(-len(tiles) // COLUMNS))
    columns = min(COLUMNS, max(1, len(tiles)))
    sheet = Image.new("RGB", (columns * TILE_PX, rows * (TILE_PX + CAPTION_PX)), PAPER)
    for number, tile in enumerate(tiles):
        x, y = number % COLUMNS * TILE_PX, number // COLUMNS * (TILE_PX + CAPTION_PX)
        sheet.paste(_draw_tile(tile), (x, y))
        _caption(ImageDraw.Draw(sheet), tile, x + 6, y + TILE_PX + 2)
    sheet.save(path)


def _draw_tile(tile: Tile) -> Image.Image:
    picture = Image.fromarray(tile.picture.rgb).resize((TILE_PX, TILE_PX))
    draw = ImageDraw.Draw(picture)
    for found in tile.moment.detections:
        draw.rectangle(_in_tile(found.box, tile.picture.field), outline=BOX, width=2)
    for alert in tile.alerts:
        if alert.box is not None:
            draw.rectangle(_in_tile(alert.box, tile.picture.field), outline=ALARM, width=3)
    return picture


def _in_tile(box: Box, field: Field) -> Box:
    sx, sy = TILE_PX / field.width, TILE_PX / field.height
    return ((box[0] - field.x) * sx, (box[1] - field.y) * sy, (box[2] - field.x) * sx, (box[3] - field.y) * sy)


def _caption(draw: ImageDraw.ImageDraw, tile: Tile, x: int, y: int) -> None:
    quality = tile.moment.quality
    words = dict.fromkeys((quality.view.value, quality.reason)) if quality else {}
    view = " ".join(words).replace("_", " ")
    draw.text((x, y), f"{tile.moment.media_ns / 1e9:.2f} s  {view}", fill=MUTED, font=_font(12))
    said: tuple[Detection | Classification, ...] = (*tile.moment.detections[:3], *tile.moment.classifications)
    scores = ", ".join(f"{found.label} {found.score:.2f}" for found in said)
    alerts = "; ".join(alert.text for alert in tile.alerts)
    draw.text((x, y + 15), alerts or scores, fill=ALARM if alerts else BOX, font=_font(12))


LEFT, RIGHT, TOP = 110, 20, 46
WIDTH = 1400
BAND_PX, GAP_PX, SCORE_PX = 22, 12, 110


def timeline(scenes: Sequence[Scene], events: Sequence[Event], truth: KnownClip | None, path: Path) -> None:
    """Rows over the clip's time: view, true polyps, detection scores, alerts from raised to cleared."""
    end_ns = max((scene.moment.media_ns for scene in scenes), default=1) or 1
    polyps = truth.polyps() if truth else []
    height = TOP + BAND_PX * (2 + max(1, len(polyps)) * bool(truth)) + SCORE_PX + GAP_PX * 5 + 30
    canvas = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(canvas)

    def at(media_ns: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * media_ns / end_ns

    draw.text((LEFT, 12), "what the model saw and said", fill=INK, font=_font(16))
    _legend(draw)
    y = TOP
    _views(draw, scenes, at, y)
    y += BAND_PX + GAP_PX
    if truth:
        y = _truth(draw, truth, at, y) + GAP_PX
    _scores(draw, scenes, at, y)
    y += SCORE_PX + GAP_PX
    _alerts(draw, events, end_ns, at, y)
    _landmarks(draw, events, at, y)
    _axis(draw, end_ns, at, y + BAND_PX + GAP_PX)
    canvas.save(path)


def _legend(draw: ImageDraw.ImageDraw) -> None:
    x = WIDTH - RIGHT - 480
    for view, colour in VIEWS.items():
        draw.rectangle((x, 14, x + 14, 28), fill=colour)
        draw.text((x + 20, 13), view.value.replace("_", " "), fill=MUTED, font=_font(13))
        x += 120


def _views(draw: ImageDraw.ImageDraw, scenes: Sequence[Scene], at: At, y: int) -> None:
    _label(draw, "view", y)
    for scene, following in pairwise(scenes):
        quality = scene.moment.quality
        if quality is not None:
            left, right = at(scene.moment.media_ns), at(following.moment.media_ns)
            draw.rectangle((left, y, right, y + BAND_PX), fill=VIEWS[quality.view])


def _truth(draw: ImageDraw.ImageDraw, truth: KnownClip, at: At, y: int) -> int:
    for identity in truth.polyps():
        seen = [(t.media_ns, p) for t in truth.frames for p in t.polyps if p.id == identity]
        _label(draw, f"polyp {identity} {seen[0][1].paris}", y)
        for media_ns, polyp in seen:
            colour = (214, 110, 130) if truth.seen(polyp) else (96, 60, 70)
            draw.rectangle((at(media_ns), y + 3, at(media_ns) + 3, y + BAND_PX - 3), fill=colour)
        y += BAND_PX
    return y


def _scores(draw: ImageDraw.ImageDraw, scenes: Sequence[Scene], at: At, y: int) -> None:
    _label(draw, "score", y)
    for level in (0.0, 0.5, 1.0):
        line = y + SCORE_PX * (1 - level)
        draw.line((LEFT, line, WIDTH - RIGHT, line), fill=(44, 50, 58))
        draw.text((LEFT - 26, line - 7), f"{level:.1f}", fill=MUTED, font=_font(11))
    for scene in scenes:
        for found in scene.moment.detections:
            x, top = at(scene.moment.media_ns), y + SCORE_PX * (1 - found.score)
            draw.ellipse((x - 1.5, top - 1.5, x + 1.5, top + 1.5), fill=BOX)


def _alerts(draw: ImageDraw.ImageDraw, events: Sequence[Event], end_ns: int, at: At, y: int) -> None:
    _label(draw, "alerts", y)
    free = 0.0  # a word only where the last one has ended
    for number, raised in enumerate(events):
        if not isinstance(raised, Alert):
            continue
        over = (e.media_ns for e in events[number:] if isinstance(e, AlertCleared) and _same(e, raised))
        draw.rectangle((at(raised.media_ns), y + 4, at(next(over, end_ns)), y + BAND_PX - 4), outline=ALARM)
        draw.rectangle((at(raised.media_ns), y, at(raised.media_ns) + 3, y + BAND_PX), fill=ALARM)
        if at(raised.media_ns) >= free:
            draw.text((at(raised.media_ns) + 7, y + 4), raised.kind, fill=INK, font=_font(12))
            free = at(raised.media_ns) + 12 + draw.textlength(raised.kind, font=_font(12))


def _landmarks(draw: ImageDraw.ImageDraw, events: Sequence[Event], at: At, bottom: int) -> None:
    """A line through all rows above, from when each was first seen."""
    for event in events:
        if isinstance(event, LandmarkReached):
            x = at(event.first_seen_ns)
            draw.line((x, TOP - 4, x, bottom), fill=LANDMARK)
            draw.text((x + 4, TOP - 18), event.kind, fill=LANDMARK, font=_font(12))


def _same(cleared: AlertCleared, raised: Alert) -> bool:
    return (cleared.kind, cleared.track, cleared.procedure) == (raised.kind, raised.track, raised.procedure)


def _axis(draw: ImageDraw.ImageDraw, end_ns: int, at: At, y: int) -> None:
    draw.line((LEFT, y, WIDTH - RIGHT, y), fill=MUTED)
    step_s = next(step for step in (1, 2, 5, 10, 30, 60, 300, 1800, 10**9) if end_ns / 1e9 / step <= 20)
    for second in range(0, int(end_ns / 1e9) + 1, step_s):
        x = at(int(second * 1e9))
        draw.line((x, y, x, y + 5), fill=MUTED)
        draw.text((x - 8, y + 7), f"{second} s", fill=MUTED, font=_font(12))


def _label(draw: ImageDraw.ImageDraw, text: str, y: int) -> None:
    draw.text((8, y + 4), text, fill=INK, font=_font(13))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
