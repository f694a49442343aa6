"""What the display is told: every picture once, every change at once, and never nothing for long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from edge.display import banner, wire
from edge.display.teller import Teller
from edge.display.wire import Listener, Sender, Shown
from edge.messages import Alert, AlertCleared, Event, Priority, ViewChanged
from edge.types import Detection, Field, Findings, Gap, Quality, SignalState, Still, View

FIELD = Field(x=0, y=0, width=64, height=48, outline=((0, 0), (64, 0), (64, 48)))
QUALITY = Quality(view=View.GOOD, reason="", luma=0.5, glare=0.0, redness=0.5, detail=9.0)
FOUND = Detection(label="polyp", box=(1.0, 2.0, 30.0, 40.0), score=0.8, area=0.1)
OTHER = Detection(label="polyp", box=(5.0, 2.0, 30.0, 41.0), score=0.4, area=0.1)
GOOD = ViewChanged(view=View.GOOD, previous=View.BLACK, captured_ns=1, media_ns=1)


class Told(NamedTuple):
    teller: Teller
    listener: Listener

    def after(self, moment: Gap | Findings, *events: Event, still: Still | None = None, **more: object) -> list[Shown]:
        self.teller.step(moment, events, still, **more)  # type: ignore[arg-type]
        return self.listener.hear(0)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """Time stands still, so that only news is told."""
    monkeypatch.setattr(time, "monotonic_ns", lambda: wire.EVERY_NS)
    listener = Listener(tmp_path / wire.NAME)
    told = Told(Teller(Sender(tmp_path / wire.NAME)), listener)
    yield told
    told.teller.close()
    listener.close()


def frame(*detections: Detection, quality: Quality | None = QUALITY) -> Findings:
    return Findings(seq=1, captured_ns=10, media_ns=10, detections=detections, quality=quality)


def gap(state: SignalState, detail: str = "") -> Gap:
    return Gap(captured_ns=10, media_ns=10, state=state, detail=detail)


def still(captured_ns: int) -> Still:
    return Still(captured_ns=captured_ns, media_ns=0, jpeg=b"jpeg", width=64, height=48, field=FIELD)


def test_each_picture_is_told_once(told: Told) -> None:
    [first] = told.after(frame(FOUND, OTHER), GOOD, still=still(5), confirmed=[FOUND.box])
    assert (first.jpeg, first.captured_ns, first.field) == (b"jpeg", 5, FIELD)
    assert [(box.box, box.confirmed) for box in first.boxes] == [(FOUND.box, True), (OTHER.box, False)]
    assert first.view is View.GOOD
    assert told.after(frame(FOUND), still=still(5)) == []
    [second] = told.after(frame(), still=still(6))
    assert (second.captured_ns, second.boxes) == (6, ())


def test_each_change_is_told_at_once(told: Told) -> None:
    [starting] = told.after(gap(SignalState.STARTING, "waits"))
    assert (starting.state, starting.detail, starting.view) == (SignalState.STARTING, "waits", None)
    assert told.after(gap(SignalState.STARTING, "waits")) == []
    [live] = told.after(frame())
    assert (live.state, live.view) == (SignalState.LIVE, View.BLACK)
    [good] = told.after(frame(), GOOD)
    assert good.view is View.GOOD
    [gone] = told.after(gap(SignalState.DEVICE_GONE, "gone"), still=still(7))
    assert (gone.state, gone.jpeg, gone.view) == (SignalState.DEVICE_GONE, b"", None)


def test_it_never_falls_silent(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """A display holds silence for a dead core: the word that nothing changed has to come well before."""
    assert len(told.after(frame())) == 1
    monkeypatch.setattr(time, "monotonic_ns", lambda: 2 * wire.EVERY_NS)
    [again] = told.after(frame())
    assert again.said_ns == 2 * wire.EVERY_NS
    assert banner.STALE_NS >= 4 * wire.EVERY_NS


def test_a_late_frame_has_no_boxes(told: Told) -> None:
    told.after(frame(FOUND), GOOD, still=still(5))
    [late] = told.after(gap(SignalState.LIVE), still=still(6))
    assert (late.state, late.view, late.boxes) == (SignalState.LIVE, View.GOOD, ())


def test_without_a_quality_head_the_view_is_not_judged(told: Told) -> None:
    [shown] = told.after(frame(quality=None), GOOD)
    assert shown.view is None


def test_alerts_are_told_while_they_are_active(told: Told) -> None:
    def alert(kind: str, track: int) -> Alert:
        return Alert(kind=kind, priority=Priority.LOW, text=f"{kind} {track}", captured_ns=1, media_ns=1, track=track)

    over = AlertCleared(kind="polyp", track=1, captured_ns=2, media_ns=2)
    [both] = told.after(frame(), alert("polyp", 1), alert("polyp", 2), still=still(1))
    assert both.alerts == ("polyp 1", "polyp 2")
    [one] = told.after(frame(), over, over, alert("poor_view", 0), still=still(2))
    assert one.alerts == ("polyp 2", "poor_view 0")


def test_without_a_display_it_goes_on(tmp_path: Path) -> None:
    sender = Sender(tmp_path / wire.NAME)
    teller = Teller(sender)
    teller.step(frame(), [GOOD], still(1))
    assert sender.lost == 1
    teller.close()
