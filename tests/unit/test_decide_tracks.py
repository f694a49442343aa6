"""Tracks in scenes that happen: crossing, splitting, jumping, slow and fast machines."""

from __future__ import annotations

import math

import msgspec
import pytest
from decide_story import TICK_NS, Story, detection, iou, only, quality
from hypothesis import given
from hypothesis import strategies as st

from edge.decide.tracks import worth
from edge.messages import Alert, FindingEnded, ProcedureStarted
from edge.types import SignalState, View

START_S = 1.0


def begun() -> Story:
    """Inside a body for long enough: a procedure runs."""
    return Story().frames(START_S)


def test_two_regions_keep_their_ids_while_they_move() -> None:
    story = begun()
    for n in range(50):
        story.frame(detection(200 + 6 * n, 200), detection(500 + 6 * n, 420))
    first, second = only(FindingEnded, story.events())
    assert (first.frames, second.frames) == (50, 50)
    assert {first.best_box[1], second.best_box[1]} == {160, 380}


def test_regions_that_pass_each_other_keep_their_ids() -> None:
    """Their boxes overlap on the way: the predicted movement tells them apart."""
    story = begun()
    for n in range(60):
        story.frame(detection(200 + 8 * n, 300), detection(680 - 8 * n, 350))
    alerts = {alert.track: alert for alert in only(Alert, story.events())}
    findings = only(FindingEnded, story.events())
    assert [finding.frames for finding in findings] == [60, 60]
    assert len(alerts) == 2


def test_a_moving_region_is_found_where_it_went() -> None:
    """Unseen for three frames in a row, it reappears two box widths on: only its movement leads there."""
    story = begun()
    for n in range(20):
        story.frame(*([] if n in (12, 13, 14) else [detection(100 + 40 * n, size=70)]))
    assert [finding.frames for finding in only(FindingEnded, story.events())] == [17]


def test_a_region_that_breaks_in_two_is_not_two() -> None:
    story = begun().frames(1.0, detection(300, 300, 120))
    story.frames(0.12, detection(270, 300, 56), detection(332, 300, 50))
    story.frames(1.0, detection(300, 300, 120))
    assert [finding.track for finding in only(FindingEnded, story.events())] == [1]


def test_far_away_is_another_region() -> None:
    story = begun().frames(1.0, detection(200)).frames(1.0, detection(600))
    assert [finding.track for finding in only(FindingEnded, story.events())] == [1, 2]


def test_other_label_is_another_region() -> None:
    other = msgspec.structs.replace(detection(), label="ulcer")
    story = begun().frames(1.0, detection()).frames(1.0, other)
    findings = only(FindingEnded, story.events())
    assert [(finding.track, finding.label) for finding in findings] == [(1, "polyp"), (2, "ulcer")]
    assert [alert.track for alert in only(Alert, story.events())] == [1]  # the table has no row for ulcers


def test_weak_detections_continue_but_never_begin() -> None:
    weak = detection(score=0.55)
    assert only(FindingEnded, begun().frames(2.0, weak).events()) == []
    (finding,) = only(FindingEnded, begun().frames(0.4, detection()).frames(2.0, weak).events())
    assert finding.frames == 60


def test_the_best_frame_is_kept() -> None:
    story = begun().frames(1.0, detection(300, score=0.7))
    best_ns = story.media_ns
    story.frame(detection(310, score=0.95)).frames(1.0, detection(320, score=0.8))
    (finding,) = only(FindingEnded, story.events())
    assert (finding.best_score, finding.best_seen_ns) == (0.95, best_ns)
    assert finding.best_box == detection(310).box
    assert finding.first_seen_ns == round(START_S * 1e9)
    assert finding.media_ns == story.media_ns - TICK_NS


@pytest.mark.parametrize(
    ("fps", "unseen_frames", "tracks"),
    [
        (60, 5, 1),  # five frames, but only 83 ms
        (60, 30, 2),
        (5, 4, 1),  # 0.8 s, but only four frames
        (5, 6, 2),
        (25, 9, 1),
        (25, 12, 2),
    ],
)
def test_a_track_ends_after_frames_and_time(fps: int, unseen_frames: int, tracks: int) -> None:
    story = Story().frames(1.0)
    pace_ns = round(1e9 / fps)
    for there in [True] * 8 + [False] * unseen_frames + [True] * 8:
        story.frame(*([detection()] if there else []))
        story.media_ns += pace_ns - TICK_NS
    assert len(only(FindingEnded, story.events())) == tracks


def test_a_poor_view_holds_tracks_and_begins_none() -> None:
    story = begun().frames(1.0, detection(200)).frames(0.6, view=View.POOR)
    story.frames(0.6, detection(600), view=View.POOR).frames(1.0, detection(200))
    (finding,) = only(FindingEnded, story.events())
    assert (finding.track, finding.best_box) == (1, detection(200).box)


def test_a_poor_view_does_not_confirm_beyond_its_grace() -> None:
    """Seen all along; confirmed only when the view is good again."""
    story = begun().frames(0.8, view=View.POOR).frames(0.8, detection(), view=View.POOR)
    good_ns = story.media_ns
    story.frames(1.0, detection())
    (alert,) = (alert for alert in only(Alert, story.events()) if alert.track)
    assert alert.first_seen_ns >= good_ns


def test_a_short_poor_spell_does_not_delay() -> None:
    story = begun()
    spell_ns = story.media_ns
    story.frames(0.3, detection(), view=View.POOR)
    (alert,) = only(Alert, story.events())
    assert alert.media_ns == spell_ns + 2 * TICK_NS  # the third of five frames


def test_a_long_hold_ends() -> None:
    story = begun().frames(1.0, detection()).frames(2.0, view=View.OUT_OF_BODY).frames(1.0, detection())
    assert [finding.track for finding in only(FindingEnded, story.events())] == [1, 2]


@pytest.mark.parametrize("state", [SignalState.NO_SIGNAL, SignalState.FORMAT_CHANGED, SignalState.LIVE])
def test_a_short_gap_is_not_the_end(state: SignalState) -> None:
    story = begun().frames(1.0, detection()).gaps(0.8, state).frames(1.0, detection())
    (finding,) = only(FindingEnded, story.events())
    assert finding.frames == 50


def test_what_is_seen_out_of_body_is_not_a_finding() -> None:
    story = begun().frames(2.0, detection(), view=View.OUT_OF_BODY)
    assert only(FindingEnded, story.events()) == []


def test_a_glimpse_of_the_room_adds_nothing_to_a_track() -> None:
    story = begun().frames(0.4, detection()).frames(0.12, detection(), view=View.OUT_OF_BODY).frames(0.4)
    (finding,) = only(FindingEnded, story.events())
    assert finding.frames == 10


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    "broken",
    [
        {"box": (NAN, 0.0, 50.0, 50.0)},
        {"box": (0.0, 0.0, INF, 50.0)},
        {"box": (0.0, 0.0, 0.0, 50.0)},
        {"box": (0.0, 50.0, 50.0, 0.0)},
        {"box": (0.0, 0.0, 1e300, 1e300)},
        {"score": NAN},
        {"score": INF},
        {"score": 1.5},
    ],
    ids=str,
)
def test_a_broken_detection_is_no_region(broken: dict) -> None:
    story = begun().frames(2.0, msgspec.structs.replace(detection(), **broken))
    assert only(FindingEnded, story.events()) == []


def test_no_findings_before_a_procedure_but_no_delay_either() -> None:
    """A region seen while the start is awaited is confirmed with the start."""
    story = Story().frames(1.0, detection())
    events = story.events()
    (started,), (alert,) = only(ProcedureStarted, events), only(Alert, events)
    assert started.captured_ns == alert.captured_ns
    assert started.media_ns <= alert.first_seen_ns < alert.media_ns


def test_ids_begin_anew_with_each_procedure() -> None:
    story = begun().frames(1.0, detection(200)).frames(5.0, view=View.BLACK).frames(1.0).frames(1.0, detection(600))
    findings = only(FindingEnded, story.events())
    assert [(finding.procedure, finding.track) for finding in findings] == [("run-1", 1), ("run-2", 1)]
    assert [alert.procedure for alert in only(Alert, story.events())] == ["run-1", "run-2"]


def test_an_endless_stream_of_new_regions_is_bounded() -> None:
    story = begun()
    for n in range(60):
        story.frame(*(detection(150 * x, 150 * y + 75 * (n % 2)) for x in range(12) for y in range(12)))
    assert len(only(FindingEnded, story.events())) <= 64 * 3


def test_the_alert_shows_where() -> None:
    story = begun()
    for n in range(20):
        story.frame(detection(300 + 5 * n))
    (alert,) = only(Alert, story.events())
    assert iou(alert.box, detection(310).box) == 1.0  # the third frame
    assert (alert.score, alert.text, alert.first_seen_ns) == (0.9, "polyp 1", round(START_S * 1e9))


def seen(story: Story, score: float, detail: float, area: float) -> int:
    """One more frame of the region. Returns its time."""
    at_ns = story.media_ns
    found = msgspec.structs.replace(detection(score=score), area=area)
    story.frame(found)
    sharp = msgspec.structs.replace(quality(View.GOOD), detail=detail)
    story.items[-1] = msgspec.structs.replace(story.items[-1], quality=sharp)
    return at_ns


def test_of_its_views_the_best_is_sure_and_sharp_and_near() -> None:
    """The highest score came with a blurred and a far view; it is still the finding's score."""
    story = begun()
    for _ in range(5):
        seen(story, 0.8, 9.0, 0.02)
    seen(story, 0.98, 1.0, 0.02)  # blurred
    seen(story, 0.99, 9.0, 0.002)  # far away
    best_ns = seen(story, 0.9, 12.0, 0.05)
    seen(story, 0.62, 14.0, 0.06)  # of little use to who has to believe it
    (finding,) = only(FindingEnded, story.frames(1.0).events())
    assert finding.best_seen_ns == best_ns
    assert finding.best_score == 0.99


@given(
    st.floats(0, 1), st.one_of(st.none(), st.floats()), st.floats(), st.floats(0, 1), st.floats(0, 255), st.floats(0, 1)
)
def test_what_a_view_is_worth(
    score: float, any_detail: float | None, any_share: float, more: float, detail: float, share: float
) -> None:
    """Between 0 and 1 whatever a head says, and never less for a better view."""
    assert 0.0 <= worth(score, any_detail, any_share) <= 1.0
    least = worth(score, detail, share)
    assert worth(max(score, more), detail, share) >= least
    assert worth(score, max(detail, 255 * more), share) >= least
    assert worth(score, detail, max(share, more)) >= least
    assert worth(score, None, share) >= least
