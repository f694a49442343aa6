"""Procedures, views, signals and the alert table, one case each; and one small story told in full."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from decide_story import CONFIG, POLYP_ROW, SIGNAL_ROW, TICK_NS, VIEW_ROW, Story, detection, only, play

from edge.decide.config import ProcedureConfig, RulesConfig
from edge.messages import (
    Alert,
    AlertCleared,
    Event,
    FindingEnded,
    ProcedureEnded,
    ProcedureStarted,
    SignalChanged,
    ViewChanged,
)
from edge.types import Findings, SignalState, View


def with_rows(*rows: object) -> RulesConfig:
    return msgspec.structs.replace(CONFIG, alerts=rows)


def seconds(ns: int) -> float:
    return ns / 1e9


def told(event: Event) -> str:
    """One event as one line: what, when, and what is particular to it."""
    words = [f"{seconds(event.media_ns):.2f}", type(event).__name__]
    for name in ("kind", "state", "view", "reason", "procedure", "track", "frames", "findings", "duration_ns"):
        value = getattr(event, name, "")
        words.append(str(getattr(value, "value", value)))
    return " ".join(word for word in words if word)


GOLDEN = """
0.00 SignalChanged live
0.20 ViewChanged out_of_body not_red
1.20 ViewChanged good
1.00 ProcedureStarted run-1
2.12 Alert polyp run-1 1
4.20 ViewChanged poor blur
5.20 ViewChanged good
3.96 FindingEnded run-1 1 37
6.08 Alert polyp run-1 2
6.32 AlertCleared polyp run-1 1
7.00 SignalChanged no_signal
7.20 ViewChanged black no_signal
7.52 Alert no_signal run-1 0
8.00 SignalChanged live
8.20 ViewChanged good
6.96 FindingEnded run-1 2 25
8.48 AlertCleared no_signal run-1 0
9.20 ViewChanged out_of_body not_red
9.32 AlertCleared polyp run-1 2
9.00 Judged preparation run-1
9.00 ProcedureEnded run-1 2 8000000000
"""


def test_a_small_story_in_full() -> None:
    story = Story()
    story.frames(1.0, view=View.OUT_OF_BODY, reason="not_red").frames(1.0)
    for n in range(50):  # a region that drifts, seen three times of four
        story.frame(*([detection(300 + 3 * n)] if n % 4 else []))
    story.frames(1.0, view=View.POOR, reason="blur").frames(1.0)
    story.frames(1.0, detection(700)).gaps(1.0).frames(1.0).frames(3.2, view=View.OUT_OF_BODY, reason="not_red")
    assert [told(event) for event in story.events()] == GOLDEN.strip().splitlines()


# ------------------------------------------------------------------------------------------- procedure


def test_a_procedure_starts_when_inside_for_long_enough_and_is_dated_back() -> None:
    story = Story().frames(1.0, view=View.BLACK).frames(1.0)
    (started,) = only(ProcedureStarted, story.events())
    assert (seconds(started.media_ns), seconds(started.captured_ns - 5)) == (1.0, 1.4)


def test_a_glimpse_is_not_a_procedure() -> None:
    story = Story()
    for _ in range(5):
        story.frames(0.36).frames(0.36, view=View.OUT_OF_BODY)
    assert only(ProcedureStarted, story.events()) == []


def test_a_short_absence_is_not_the_end() -> None:
    story = Story().frames(1.0).frames(2.8, view=View.OUT_OF_BODY).frames(1.0).gaps(2.8).frames(1.0)
    events = story.events()
    assert len(only(ProcedureStarted, events)) == 1
    (ended,) = only(ProcedureEnded, events)
    assert seconds(ended.duration_ns) == pytest.approx(8.56)


@pytest.mark.parametrize("state", [SignalState.NO_SIGNAL, SignalState.FAILED, SignalState.ENDED, SignalState.STARTING])
def test_a_procedure_ends_without_a_picture_and_is_dated_back(state: SignalState) -> None:
    events = Story().frames(2.0).gaps(4.0, state).events(finish=False)
    (ended,) = only(ProcedureEnded, events)
    assert (seconds(ended.media_ns), seconds(ended.captured_ns - 5)) == (2.0, 5.0)
    assert ended.duration_ns == ended.media_ns


def test_a_picture_that_comes_back_in_the_last_moment_is_not_the_end() -> None:
    """Back, but not yet believed, when the time is up."""
    events = Story().frames(1.0).frames(2.92, view=View.OUT_OF_BODY).frames(1.0).events(finish=False)
    assert only(ProcedureEnded, events) == []


def test_a_late_frame_is_no_absence() -> None:
    events = Story().frames(2.0).gaps(5.0, SignalState.LIVE).frames(1.0).events(finish=False)
    assert only(ProcedureEnded, events) == []
    assert len(only(SignalChanged, events)) == 1


def test_the_next_procedure_has_another_name() -> None:
    story = Story().frames(2.0).frames(4.0, view=View.BLACK).frames(2.0)
    events = story.events()
    assert [event.procedure for event in only(ProcedureStarted, events)] == ["run-1", "run-2"]
    assert [event.procedure for event in only(ProcedureEnded, events)] == ["run-1", "run-2"]


def test_without_a_quality_head_every_frame_counts_as_good() -> None:
    items = [msgspec.structs.replace(item, quality=None) for item in Story().frames(1.0).items]
    assert any(only(ProcedureStarted, step) for step in play(items))


def test_nothing_seen_nothing_said() -> None:
    rules_events = Story().gaps(1.0, SignalState.STARTING).events()
    assert only(ViewChanged, rules_events) == []
    assert rules_events == []


# ---------------------------------------------------------------------------------------- view, signal


def test_view_changes_are_debounced() -> None:
    story = Story().frames(1.0)
    for _ in range(10):
        story.frames(0.16, view=View.POOR).frames(0.04)
    assert [event.view for event in only(ViewChanged, story.events())] == [View.GOOD]


def test_alternating_bad_views_do_not_pass_for_a_good_one() -> None:
    story = Story().frames(1.0)
    for _ in range(10):
        story.frame(view=View.BLACK).frame(view=View.OUT_OF_BODY)
    views = [event.view for event in only(ViewChanged, story.events())]
    assert views[0] is View.GOOD
    assert len(views) > 1


def test_signal_changes_are_said_once_with_their_detail() -> None:
    story = Story().frames(0.2).gaps(0.4).gaps(0.4, SignalState.FAILED).gaps(0.2, SignalState.LIVE).frames(0.2)
    changes = only(SignalChanged, story.events())
    assert [(c.previous.value, c.state.value, c.detail) for c in changes] == [
        ("starting", "live", ""),
        ("live", "no_signal", "cable"),
        ("no_signal", "failed", "cable"),
        ("failed", "live", "cable"),
    ]


# ---------------------------------------------------------------------------------------------- alerts


def test_an_alert_outlasts_its_track_by_its_hold() -> None:
    story = Story().frames(1.0).frames(1.0, detection()).frames(4.0)
    (cleared,) = only(AlertCleared, story.events())
    (finding,) = only(FindingEnded, story.events())
    lost_ns = finding.media_ns + 10 * TICK_NS  # end_after_s
    assert (cleared.kind, cleared.track) == ("polyp", 1)
    assert cleared.media_ns == lost_ns - TICK_NS + round(POLYP_ROW.hold_s * 1e9)


@pytest.mark.parametrize(("repeat_s", "said"), [(None, [0]), (0.0, list(range(10))), (0.2, [0, 5])])
def test_repeats_of_a_track_alert(repeat_s: float | None, said: list[int]) -> None:
    """Confirmed in its third frame and seen for ten more; 0 repeats in every frame in which it is seen."""
    config = with_rows(msgspec.structs.replace(POLYP_ROW, repeat_s=repeat_s))
    story = Story().frames(1.0).frames(0.48, detection()).frames(2.0)
    events = story.events(config)
    first_ns = round(1e9) + 2 * TICK_NS
    assert [(alert.media_ns - first_ns) // TICK_NS for alert in only(Alert, events)] == said
    assert len(only(AlertCleared, events)) == 1


def test_after_s_of_a_track_waits_until_it_is_seen() -> None:
    config = with_rows(msgspec.structs.replace(POLYP_ROW, after_s=0.4))
    story = Story().frames(1.0).frames(0.48, detection()).frames(0.2).frames(0.4, detection())
    (alert,) = only(Alert, story.events(config))
    assert alert.media_ns == round(1.68e9)


@pytest.mark.parametrize(("poor_s", "raised"), [(0.92, 0), (1.08, 1)])
def test_a_view_alert_needs_its_time(poor_s: float, raised: int) -> None:
    story = Story().frames(1.0).frames(poor_s, view=View.POOR, reason="glare").frames(2.0)
    events = story.events(with_rows(VIEW_ROW))
    assert [alert.text for alert in only(Alert, events)] == ["glare"] * raised
    assert len(only(AlertCleared, events)) == raised


def test_a_view_alert_repeats_no_faster_than_allowed() -> None:
    story = Story().frames(1.0)
    for _ in range(8):
        story.frames(1.4, view=View.POOR).frames(1.0)
    times = [seconds(alert.media_ns) for alert in only(Alert, story.events(with_rows(VIEW_ROW)))]
    assert len(times) >= 3
    assert min(b - a for a, b in pairwise(times)) >= VIEW_ROW.repeat_s


def test_a_spell_within_the_hold_is_one_alert() -> None:
    story = Story().frames(1.0).frames(2.0, view=View.POOR).frames(0.4).frames(2.0, view=View.POOR)
    events = story.events(with_rows(msgspec.structs.replace(VIEW_ROW, hold_s=1.0, repeat_s=0.0)))
    assert len(only(Alert, events)) == 1


@pytest.mark.parametrize(("in_procedure", "raised"), [(True, 0), (False, 1)])
def test_a_signal_alert_outside_of_a_procedure(in_procedure: bool, raised: int) -> None:
    row = msgspec.structs.replace(SIGNAL_ROW, in_procedure=in_procedure)
    story = Story().frames(1.0, view=View.BLACK).gaps(2.0)
    assert [alert.procedure for alert in only(Alert, story.events(with_rows(row)))] == [""] * raised


def test_an_alert_that_is_not_bound_to_a_procedure_survives_its_end() -> None:
    row = msgspec.structs.replace(SIGNAL_ROW, in_procedure=False)
    events = Story().frames(1.0).gaps(6.0).frames(1.0, view=View.BLACK).events(with_rows(row))
    (alert,), (cleared,), (ended,) = only(Alert, events), only(AlertCleared, events), only(ProcedureEnded, events)
    assert alert.procedure == cleared.procedure == "run-1"
    assert cleared.media_ns > ended.media_ns + 3e9


# ------------------------------------------------------------------------------------------------ time


def test_a_looped_clip_runs_on() -> None:
    """Media time steps back at the loop: the rules' time stands still for one frame and runs on."""
    clip = Story().frames(1.0).frames(1.0, detection()).frames(1.0).items
    again = [msgspec.structs.replace(item, captured_ns=item.captured_ns + 3 * 10**9) for item in clip]
    straight = [
        msgspec.structs.replace(item, media_ns=item.media_ns + clip[-1].media_ns, captured_ns=item.captured_ns)
        for item in again
    ]
    assert play([*clip, *again]) == play([*clip, *straight])[: len(clip) * 2] + play([*clip, *again])[-1:]
    events = [event for step in play([*clip, *again]) for event in step]
    assert [finding.track for finding in only(FindingEnded, events)] == [1, 2]


def test_standing_time_is_harmless() -> None:
    frozen: list[Findings] = [
        msgspec.structs.replace(item, media_ns=7) for item in Story().frames(2.0, detection()).items
    ]
    events = [event for step in play(frozen) for event in step]
    assert [type(event) for event in events] == [SignalChanged]


def test_a_start_of_zero_seconds() -> None:
    config = msgspec.structs.replace(
        CONFIG,
        view=msgspec.structs.replace(CONFIG.view, debounce_s=0.0),
        procedure=ProcedureConfig(start_s=0.0, stop_s=0.0),
        judgements=(),
    )
    steps = play(Story().frame(detection()).frame(view=View.BLACK).frame().items, config)
    kinds = [[type(event) for event in step] for step in steps]
    assert kinds == [
        [SignalChanged, ViewChanged, ProcedureStarted],
        [ViewChanged, ProcedureEnded],
        [ViewChanged, ProcedureStarted],
        [ProcedureEnded],
    ]
