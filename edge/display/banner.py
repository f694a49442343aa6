"""What the display says of the box, in one word that can be read from across the room. Pure.

`table()` is what docs/display.md shows; a test holds the two together.
"""

from __future__ import annotations

from typing import NamedTuple

from edge.display.wire import Shown
from edge.types import SignalState, View

STALE_NS = 1_000_000_000  # what the core said longer ago is not the present


class Tone(NamedTuple):
    """Two colours that stay apart for every kind of colour vision; the word says the same without them."""

    ground: str
    ink: str


GOOD = Tone("#00694a", "#ffffff")
CARE = Tone("#e69f00", "#000000")
IDLE = Tone("#4a525c", "#ffffff")
FAULT = Tone("#d55e00", "#000000")


class Row(NamedTuple):
    word: str
    tone: Tone
    means: str  # for people, short
    picture: bool = False  # it is shown; otherwise the screen is black, so that nothing old looks like now
    boxes: bool = False


NO_ANSWER = Row("NO ANSWER", FAULT, "The box does not answer. Assume that nothing is analysed.")

VIEWS: dict[View | None, Row] = {
    View.GOOD: Row("ACTIVE", GOOD, "The picture is analysed.", picture=True, boxes=True),
    View.POOR: Row("POOR VIEW", CARE, "Not clear enough: findings may be missed.", picture=True, boxes=True),
    View.OUT_OF_BODY: Row("OUT OF BODY", IDLE, "Waits for the endoscope to enter.", picture=True),
    View.BLACK: Row("NO PICTURE", IDLE, "Nothing can be seen in the picture.", picture=True),
    None: Row("ACTIVE", GOOD, "The picture is analysed. Its quality is not judged.", picture=True, boxes=True),
}
"""While the signal is live."""

_Is = SignalState
STATES: dict[SignalState, Row] = {
    _Is.STARTING: Row("STARTING", IDLE, "Not analysed yet."),
    _Is.FORMAT_CHANGED: Row("STARTING", IDLE, "The tower changed its format. Not analysed yet."),
    _Is.NO_SIGNAL: Row("NO SIGNAL", CARE, "No picture comes from the tower. Not analysed."),
    _Is.UNSTABLE: Row("NO SIGNAL", CARE, "The signal comes and goes: look at the cable. Not analysed."),
    _Is.BLACK: Row("NO PICTURE", CARE, "Black all over: is the endoscope on? Not analysed."),
    _Is.BARS: Row("NO PICTURE", CARE, "A test picture comes from the tower. Not analysed."),
    _Is.FROZEN: Row("FROZEN", CARE, "The tower's picture stands still. Not analysed."),
    _Is.PROTECTED_SUSPECT: Row("ERROR", FAULT, "The tower's output seems copy-protected. Not analysed."),
    _Is.UNSUPPORTED: Row("ERROR", FAULT, "The tower sends a format that the box cannot take. Not analysed."),
    _Is.UNKNOWN_LAYOUT: Row("ERROR", FAULT, "The endoscope's part of the picture is not found. Not analysed."),
    _Is.DEVICE_GONE: Row("ERROR", FAULT, "The capture device is gone. Not analysed."),
    _Is.FAILED: Row("ERROR", FAULT, "The capture broke. Not analysed."),
    _Is.ENDED: Row("ENDED", IDLE, "The video is over."),
}
"""While it is not."""


def choose(shown: Shown | None, now_ns: int) -> Row:
    """`shown`: the last word of the core, None before any. `now_ns`: CLOCK_MONOTONIC."""
    if shown is None or now_ns - shown.said_ns > STALE_NS:
        return NO_ANSWER
    return VIEWS[shown.view] if shown.state is SignalState.LIVE else STATES[shown.state]


def table() -> str:
    """Markdown."""
    live = [
        (f"`live`, view {f'`{view.value}`' if view else 'not judged'}", row, "yes" if row.boxes else "no boxes")
        for view, row in VIEWS.items()
    ]
    rest = [(f"`{state.value}`", row, "black") for state, row in STATES.items()]
    none = [(f"nothing heard for {STALE_NS / 1e9:g} s", NO_ANSWER, "black")]
    lines = [f"| {row.word} | {when} | {row.means} | {picture} |" for when, row, picture in live + rest + none]
    return "\n".join(["| banner | when | it says | picture |", "|---|---|---|---|", *lines])
