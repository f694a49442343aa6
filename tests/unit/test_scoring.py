"""Replay's verdict against truths that were written down by hand."""

from __future__ import annotations

from edge.cli.scoring import KnownClip, Scene, score
from edge.messages import Alert, Priority
from edge.phantom import Header, PolypTruth, Script, Truth
from edge.types import Box, Detection, Findings, View

FRAME_NS = 40_000_000
SCRIPT = Script(seed=1, fps=25, seconds=4, width=640, height=512)
BOX = (100, 100, 200, 180)


def clip(visible: dict[int, range], area: int = 4000) -> KnownClip:
    """100 frames; polyp number → the frames that show it, all in one box."""
    frames = [
        Truth(
            frame=number,
            media_ns=number * FRAME_NS,
            view=View.GOOD,
            polyps=tuple(
                PolypTruth(id=identity, paris="0-Is", box=BOX, visible=1.0, area=area, runs=(0, 8000))
                for identity, shown in visible.items()
                if number in shown
            ),
        )
        for number in range(100)
    ]
    return KnownClip(Header(version=1, script=SCRIPT, field=()), frames)


def scenes(detections: dict[int, Box]) -> list[Scene]:
    return [
        Scene(
            moment=Findings(
                seq=number,
                captured_ns=0,
                media_ns=number * FRAME_NS,
                detections=(Detection(label="polyp", box=detections[number], score=0.9, area=0.02),)
                if number in detections
                else (),
            ),
            events=(),
        )
        for number in range(100)
    ]


def alert(frame: int, box: Box | None = BOX) -> Alert:
    return Alert(
        kind="polyp", priority=Priority.MEDIUM, text="", captured_ns=0, media_ns=frame * FRAME_NS, box=box, track=1
    )


def test_delays_count_from_the_appearance() -> None:
    result = score(scenes({12: BOX, 13: BOX}), [alert(15)], clip({1: range(10, 40)}))
    assert (result.missed, result.false_alerts, result.alerts) == (0, 0, 1)
    polyp = result.polyps[0]
    assert (polyp.detection_delay_ms, polyp.alert_delay_ms) == (80.0, 200.0)
    assert (polyp.appears_s, polyp.visible_s) == (0.4, 1.2)


def test_a_detection_elsewhere_is_none_and_an_alert_elsewhere_is_false() -> None:
    elsewhere = (400.0, 300.0, 450.0, 350.0)
    result = score(scenes({12: elsewhere}), [alert(15, elsewhere)], clip({1: range(10, 40)}))
    assert (result.missed, result.false_alerts) == (1, 1)
    assert result.polyps[0].detection_delay_ms is None
    assert result.median_alert_delay_ms is None


def test_an_alert_long_after_the_polyp_is_false() -> None:
    result = score(scenes({}), [alert(30), alert(90)], clip({1: range(10, 40)}))
    assert (result.missed, result.false_alerts) == (0, 1)
    assert result.false_per_minute == round(1 / (99 * 0.04 / 60), 3)


def test_specks_are_not_asked_for() -> None:
    result = score(scenes({}), [], clip({1: range(10, 40)}, area=100))
    assert result.polyps == ()
    assert result.missed == 0


def test_alerts_about_the_picture_are_not_about_polyps() -> None:
    assert score(scenes({}), [alert(5, None)], clip({})).alerts == 0


def test_without_truth_nothing_is_judged() -> None:
    result = score(scenes({}), [alert(5)], None)
    assert (result.alerts, result.false_alerts, result.missed) == (1, None, None)


def test_no_frames_at_all() -> None:
    result = score([], [], clip({}))
    assert (result.frames, result.minutes, result.false_per_minute) == (0, 0.0, 0.0)
