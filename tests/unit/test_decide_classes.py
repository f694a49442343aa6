"""Landmarks that a procedure reaches, and verdicts on the whole of it."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from decide_story import CAECUM_ROW, CONFIG, PREPARATION_ROW, TICK_NS, Item, Story, classes, only, play
from hypothesis import given
from hypothesis import strategies as st

from edge.decide.config import RulesConfig
from edge.decide.landmarks import Landmark
from edge.decide.moment import Moment
from edge.messages import Judged, LandmarkReached, ProcedureEnded, ProcedureStarted
from edge.types import Classification, SignalState, View

CAECUM = classes(landmark=("caecum", 0.9))
OTHER = classes(landmark=("other", 0.9))
CLEAN = classes(preparation=("adequate", 0.9))
DIRTY = classes(preparation=("inadequate", 0.9))


def with_landmark(**changes: object) -> RulesConfig:
    return msgspec.structs.replace(CONFIG, landmarks=(msgspec.structs.replace(CAECUM_ROW, **changes),))


def with_judgement(**changes: object) -> RulesConfig:
    return msgspec.structs.replace(CONFIG, judgements=(msgspec.structs.replace(PREPARATION_ROW, **changes),))


def reached(story: Story, config: RulesConfig = CONFIG) -> list[LandmarkReached]:
    return only(LandmarkReached, story.events(config))


def judged(story: Story, config: RulesConfig = CONFIG) -> Judged:
    (event,) = only(Judged, story.events(config))
    return event


# ------------------------------------------------------------------------------------------- landmarks


def test_a_landmark_is_said_once_with_its_first_time_and_best_score() -> None:
    story = Story().frames(1.0, *OTHER).frame(*classes(landmark=("caecum", 0.85))).frame(*OTHER)
    begun_ns = round(1e9)
    for score in (0.99, 0.9, 0.95, 0.97):
        story.frame(*classes(landmark=("caecum", score)))
    story.frames(2.0, *CAECUM)
    (event,) = reached(story)
    assert event.kind == "caecum"
    assert event.procedure == "run-1"
    assert event.first_seen_ns == begun_ns
    assert event.media_ns == begun_ns + 3 * TICK_NS  # the third of the last four
    assert event.captured_ns == event.media_ns + 5
    assert event.after_ns == begun_ns  # the procedure began at 0
    assert event.best_score == 0.99


@pytest.mark.parametrize(
    "said",
    [
        (),  # unsure: the head says nothing
        OTHER,
        classes(landmark=("caecum", 0.79)),
        classes(preparation=("caecum", 0.9)),  # another head's word
        classes(landmark=("caecum", float("nan"))),
        classes(landmark=("caecum", 7.0)),
    ],
)
def test_what_does_not_count_for_a_landmark(said: tuple[Classification, ...]) -> None:
    story = Story().frames(1.0)
    for _ in range(20):
        story.frame(*CAECUM).frame(*CAECUM).frame(*said).frame(*said)
    assert reached(story) == []


@pytest.mark.parametrize("view", [View.POOR, View.OUT_OF_BODY, View.BLACK])
def test_only_good_views_count_for_a_landmark(view: View) -> None:
    """Neither a view that is believed to be bad nor one bad picture among good ones."""
    assert reached(Story().frames(1.0).frames(2.0, *CAECUM, view=view)) == []
    story = Story().frames(1.0)
    for _ in range(10):
        story.frame(*CAECUM, view=view).frame(*OTHER)
    assert reached(story) == []


def test_nothing_counts_outside_of_a_procedure() -> None:
    story = Story().frames(0.36, *CAECUM, *CLEAN).frames(4.0, view=View.BLACK).frames(1.0)
    assert reached(story) == []
    assert [event.views for event in only(Judged, story.events())] == [0]


def test_the_next_procedure_reaches_it_again() -> None:
    story = Story().frames(2.0, *CAECUM).frames(4.0, view=View.BLACK).frames(2.0, *CAECUM)
    assert [event.procedure for event in reached(story)] == ["run-1", "run-2"]


@pytest.mark.parametrize(("away_s", "times"), [(0.6, 1), (0.9, 0)])
def test_old_views_are_forgotten(away_s: float, times: int) -> None:
    """Two views, a while without a picture, 0.2 s until the next one is believed, one more view."""
    story = Story().frames(1.0).frame(*CAECUM).frame(*CAECUM).gaps(away_s).frames(0.2).frame(*CAECUM)
    config = with_landmark(window=9)
    assert len(reached(story, config)) == times


def test_a_smoothed_score_takes_its_time() -> None:
    """From 0, a share of 0.3 of what is missing each view: 1 - 0.7 ** 5 = 0.83 is the first beyond 0.8."""
    story = Story().frames(1.0).frames(1.0, *classes(landmark=("caecum", 1.0)))
    (event,) = reached(story, with_landmark(newest=0.3, confirm=1))
    assert event.media_ns == round(1e9) + 4 * TICK_NS


def test_a_landmark_without_a_quality_head() -> None:
    items: list[Item] = [
        msgspec.structs.replace(item, quality=None) for item in Story().frames(2.0, *CAECUM, *CLEAN).items
    ]
    events = [event for step in play(items) for event in step]
    assert len(only(LandmarkReached, events)) == 1
    assert only(Judged, events)[0].label == "adequate"


@given(
    scores=st.lists(st.floats(0, 1), max_size=60),
    confirm=st.integers(1, 6),
    extra=st.integers(0, 6),
    newest=st.floats(0.01, 1),
)
def test_reached_exactly_when_the_smoothed_score_held_in_k_of_n(
    scores: list[float], confirm: int, extra: int, newest: float
) -> None:
    row = msgspec.structs.replace(CAECUM_ROW, newest=newest, confirm=confirm, window=confirm + extra)
    landmark = Landmark(row)
    held, smoothed = [], 0.0
    for place, score in enumerate(scores):
        smoothed += newest * (score - smoothed)
        held.append(smoothed >= row.score)
        now = landmark.see(Moment(place, place), score)
        assert now == (sum(held[-row.window :]) >= confirm)
        places = [n for n in range(max(0, place - row.window + 1), place + 1) if held[n]]
        assert landmark.evidence == [(n, scores[n]) for n in places]


@given(scores=st.lists(st.floats(0, 0.79), max_size=60), newest=st.floats(0.01, 1))
def test_never_reached_below_the_score(scores: list[float], newest: float) -> None:
    row = msgspec.structs.replace(CAECUM_ROW, newest=newest, confirm=1)
    landmark = Landmark(row)
    assert not any(landmark.see(Moment(place, place), score) for place, score in enumerate(scores))


@given(pauses=st.lists(st.integers(0, 2 * 10**9), min_size=1, max_size=40))
def test_evidence_has_no_holes(pauses: list[int]) -> None:
    landmark = Landmark(msgspec.structs.replace(CAECUM_ROW, window=64, confirm=64))
    now_ns = 0
    for pause_ns in pauses:
        now_ns += pause_ns
        landmark.see(Moment(now_ns, 0), 1.0)
        times = [ns for ns, _ in landmark.evidence]
        assert times[-1] == now_ns
        assert all(after - before <= 10**9 for before, after in pairwise(times))


# ------------------------------------------------------------------------------------------ judgements


def test_a_verdict_is_told_at_the_end_with_its_shares() -> None:
    """25 views before the procedure is believed do not count, poor ones neither; unsure ones are told apart."""
    story = Story().frames(0.6).frames(1.2, *CLEAN).frames(0.4, *DIRTY).frames(0.4)
    story.frames(2.0, *DIRTY, view=View.POOR).frames(4.0, view=View.BLACK)
    events = story.events(finish=False)
    (event,), (ended,) = only(Judged, events), only(ProcedureEnded, events)
    assert events.index(ended) == events.index(event) + 1
    assert (event.kind, event.label, event.procedure) == ("preparation", "adequate", "run-1")
    assert (event.media_ns, event.captured_ns) == (ended.media_ns, ended.captured_ns)
    assert event.views == 40
    assert event.shares == {"adequate": 0.75, "inadequate": 0.25}
    (started,) = only(ProcedureStarted, events)
    silent = round(0.6e9 - (started.captured_ns - 5)) // TICK_NS + 10
    assert event.unsure == silent


@pytest.mark.parametrize(
    ("clean_s", "dirty_s", "label"),
    [
        (0.76, 0.0, ""),  # 19 views: one too few
        (0.8, 0.0, "adequate"),
        (0.0, 0.8, "inadequate"),
        (1.0, 1.0, ""),  # no label has the share
        (1.2, 0.8, "adequate"),
        (0.0, 0.0, ""),
    ],
)
def test_a_verdict_needs_views_and_a_share(clean_s: float, dirty_s: float, label: str) -> None:
    event = judged(Story().frames(1.0).frames(clean_s, *CLEAN).frames(dirty_s, *DIRTY))
    assert event.label == label
    assert event.views == round((clean_s + dirty_s) * 25)


def test_an_unsure_head_does_not_vote() -> None:
    unsure = classes(preparation=("inadequate", 0.59))
    event = judged(Story().frames(1.0).frames(1.0, *CLEAN).frames(2.0, *unsure))
    assert (event.label, event.views, event.shares) == ("adequate", 25, {"adequate": 1.0})
    assert event.unsure >= 50


def test_each_row_has_its_verdict_in_each_procedure() -> None:
    rows = (PREPARATION_ROW, msgspec.structs.replace(PREPARATION_ROW, kind="mayo", head="mayo"))
    config = msgspec.structs.replace(CONFIG, judgements=rows)
    mayo = classes(mayo=("2", 0.8))
    story = Story().frames(3.0, *CLEAN, *mayo).gaps(4.0, SignalState.NO_SIGNAL).frames(3.0, *DIRTY)
    told = [(event.procedure, event.kind, event.label) for event in only(Judged, story.events(config))]
    assert told == [
        ("run-1", "preparation", "adequate"),
        ("run-1", "mayo", "2"),
        ("run-2", "preparation", "inadequate"),
        ("run-2", "mayo", ""),
    ]


@given(said=st.lists(st.sampled_from([CLEAN, DIRTY, ()]), max_size=60), share=st.floats(0.51, 1))
def test_the_shares_are_the_counts(said: list[tuple[Classification, ...]], share: float) -> None:
    story = Story().frames(1.0)
    for one in said:
        story.frame(*one)
    event = judged(story, with_judgement(min_share=share))
    clean, dirty = said.count(CLEAN), said.count(DIRTY)
    assert event.views == clean + dirty
    assert {label: round(part * event.views) for label, part in event.shares.items()} == {
        label: count for label, count in (("adequate", clean), ("inadequate", dirty)) if count
    }
    sure = event.views >= 20 and max(event.shares.values(), default=0) >= share
    assert bool(event.label) == sure
