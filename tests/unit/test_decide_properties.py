"""What must hold of the rules on any stream at all."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest
from decide_story import CONFIG, ORDER, Item, Story, classes, detection, only, play, quality
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.decide.config import RulesConfig, TracksConfig
from edge.messages import (
    Alert,
    AlertCleared,
    Event,
    FindingEnded,
    Judged,
    LandmarkReached,
    ProcedureEnded,
    ProcedureStarted,
)
from edge.types import Classification, Detection, Findings, Gap, SignalState, View

PACES_NS = (1, 5_000_000, 40_000_000, 300_000_000, 2_500_000_000)


@st.composite
def streams(draw: st.DrawFn) -> list[Item]:
    """Stretches of one pace and one condition each, with wobbling, flickering regions and now and then a step back."""
    stretch = st.tuples(
        st.sampled_from([*View, *View, View.GOOD, View.GOOD, View.GOOD, *SignalState]),
        st.integers(1, 30),
        st.sampled_from(PACES_NS),
        st.sets(st.integers(0, 3), max_size=3),
        st.sampled_from(["", "caecum", "other"]),
        st.sampled_from([0, 0, 0, 0, -1_000_000_000]),
    )
    chance = random.Random(draw(st.integers(0, 2**16)))
    items: list[Item] = []
    media_ns = draw(st.integers(0, 10**10))
    for condition, count, pace_ns, places, landmark, jump_ns in draw(st.lists(stretch, max_size=12)):
        media_ns += jump_ns
        for _ in range(count):
            media_ns += pace_ns
            captured_ns = len(items) * 7
            if isinstance(condition, SignalState):
                items.append(Gap(captured_ns=captured_ns, media_ns=media_ns, state=condition))
                continue
            found = [_wobbling(place, chance) for place in sorted(places) if chance.random() < 0.8]
            items.append(
                Findings(
                    seq=len(items),
                    captured_ns=captured_ns,
                    media_ns=media_ns,
                    detections=tuple(found),
                    classifications=_said(landmark, chance),
                    quality=quality(condition),
                )
            )
    return items


def _said(landmark: str, chance: random.Random) -> tuple[Classification, ...]:
    """A landmark head that flickers, and a preparation head that is sure now and then."""
    preparation = classes(preparation=(chance.choice(["adequate", "inadequate"]), chance.random()))
    return classes(landmark=(landmark, chance.uniform(0.5, 1))) + preparation if landmark else preparation


def _wobbling(place: int, chance: random.Random) -> Detection:
    return detection(
        x=150 + 300 * place + chance.uniform(-15, 15), size=chance.uniform(60, 100), score=chance.uniform(0.4, 1)
    )


def flat(steps: list[list[Event]]) -> list[Event]:
    return [event for step in steps for event in step]


def check_books(steps: list[list[Event]]) -> None:
    """Every raise is cleared once, every start ends once, findings, landmarks and verdicts belong, all in order."""
    active: set[tuple[str, str, int]] = set()
    procedures: list[str] = []
    current, found, told = "", Counter[str](), Counter[tuple[type, str, str]]()
    for step in steps:
        assert [ORDER.index(type(event)) for event in step] == sorted(ORDER.index(type(event)) for event in step)
        for event in step:
            match event:
                case Alert():
                    key = (event.kind, event.procedure, event.track)
                    assert key not in active
                    assert event.procedure == current
                    active.add(key)
                case AlertCleared():
                    active.remove((event.kind, event.procedure, event.track))
                case ProcedureStarted():
                    assert not current
                    assert event.procedure not in procedures
                    current = event.procedure
                    procedures.append(current)
                case FindingEnded():
                    assert event.procedure == current != ""
                    found[current] += 1
                    assert event.first_seen_ns <= event.best_seen_ns <= event.media_ns
                case LandmarkReached():
                    assert event.procedure == current != ""
                    assert event.first_seen_ns <= event.media_ns
                    assert event.after_ns >= 0
                    told[LandmarkReached, current, event.kind] += 1
                case Judged():
                    assert event.procedure == current != ""
                    assert event.label in event.shares or not event.label
                    assert sum(event.shares.values()) in (0, pytest.approx(1))
                    told[Judged, current, event.kind] += 1
                case ProcedureEnded():
                    assert event.procedure == current
                    assert told[Judged, current, "preparation"] == 1
                    assert event.findings == found[current]
                    assert event.duration_ns >= 0
                    current = ""
    assert not active
    assert not current
    assert set(told.values()) <= {1}


@given(stream=streams())
def test_the_books_balance(stream: list[Item]) -> None:
    check_books(play(stream))


@given(stream=streams())
def test_track_ids_count_from_one_and_are_never_reused(stream: list[Item]) -> None:
    ids: dict[str, list[int]] = {}
    for event in only(FindingEnded, flat(play(stream))):
        ids.setdefault(event.procedure, []).append(event.track)
    for used in ids.values():
        assert sorted(used) == list(range(1, len(used) + 1))


@given(stream=streams(), shift_ns=st.integers(-(10**12), 10**15))
def test_shifting_media_time_shifts_the_events(stream: list[Item], shift_ns: int) -> None:
    def shifted(value: object, by_ns: int) -> object:
        times = ("media_ns", "first_seen_ns", "best_seen_ns")
        present = {name: getattr(value, name) + by_ns for name in times if hasattr(value, name)}
        if isinstance(value, Alert) and not value.track:
            present["first_seen_ns"] = 0  # not about a region, so not a time
        return msgspec.structs.replace(value, **present)

    moved = flat(play([shifted(item, shift_ns) for item in stream]))
    assert moved == [shifted(event, shift_ns) for event in flat(play(stream))]


@given(stream=streams(), seed=st.integers())
def test_the_speed_of_replay_does_not_matter(stream: list[Item], seed: int) -> None:
    """The same media times, captured at any other times, give the same events but for `captured_ns`."""
    chance = random.Random(seed)
    others = [msgspec.structs.replace(item, captured_ns=chance.randrange(10**12)) for item in stream]
    timeless = [
        [[msgspec.structs.replace(event, captured_ns=0) for event in step] for step in play(items)]
        for items in (stream, others)
    ]
    assert timeless[0] == timeless[1]
    for item, step in zip(others, play(others), strict=False):
        assert all(event.captured_ns == item.captured_ns for event in step)


@given(stream=streams(), seed=st.integers())
def test_the_order_of_detections_does_not_matter(stream: list[Item], seed: int) -> None:
    chance = random.Random(seed)

    def shuffled(item: Item) -> Item:
        if isinstance(item, Gap):
            return item
        mixed = tuple(chance.sample(item.detections, len(item.detections)))
        return msgspec.structs.replace(item, detections=mixed)

    assert play([shuffled(item) for item in stream]) == play(stream)


@given(stream=streams())
def test_time_of_events_never_runs_back(stream: list[Item]) -> None:
    now_ns = None
    for event in flat(play(stream)):
        if isinstance(event, Alert | AlertCleared):
            assert now_ns is None or event.media_ns >= now_ns
            now_ns = event.media_ns


anything = st.floats(allow_nan=True, allow_infinity=True)
garbage = st.builds(
    Detection,
    label=st.sampled_from(["polyp", "", "\x00"]),
    box=st.tuples(anything, anything, anything, anything)
    | st.tuples(st.floats(-1e6, 0), st.floats(-1e6, 0), st.floats(0, 1e6), st.floats(0, 1e6)),
    score=anything | st.floats(0, 1),
    area=anything,
)
nonsense = st.builds(
    Classification,
    head=st.sampled_from(["landmark", "preparation", ""]),
    label=st.sampled_from(["caecum", "adequate", "\x00"]),
    score=anything | st.floats(0, 1),
    grade=st.none() | anything,
)


@given(
    frames=st.lists(st.tuples(st.lists(garbage, max_size=6), st.lists(nonsense, max_size=4)), max_size=40),
    view=st.sampled_from([None, *View]),
)
def test_garbage_from_the_heads_harms_nothing(
    frames: list[tuple[list[Detection], list[Classification]]], view: View | None
) -> None:
    good = Story().frames(1.0, detection(500, 500))
    start_ns = good.media_ns
    broken = [
        Findings(
            seq=n,
            captured_ns=0,
            media_ns=start_ns + n * 40_000_000,
            detections=tuple(found),
            classifications=tuple(said),
            quality=None if view is None else quality(view),
        )
        for n, (found, said) in enumerate(frames)
    ]
    steps = play([*good.items, *broken])
    check_books(steps)
    for event in flat(steps):
        assert "nan" not in repr(event)
        assert "inf," not in repr(event)


@given(seen=st.lists(st.booleans(), max_size=60), k=st.integers(1, 6), extra=st.integers(0, 6))
def test_confirmed_exactly_when_k_of_the_last_n(seen: list[bool], k: int, extra: int) -> None:
    n = k + extra
    config = msgspec.structs.replace(CONFIG, tracks=TracksConfig(confirm=k, window=n, end_after_frames=12))
    story = Story().frames(1.0)
    begun = len(story.items)
    for there in seen:
        story.frame(*([detection()] if there else []))
    steps = play(story.items, config, finish=False)
    alerts = [index - begun for index, step in enumerate(steps) if only(Alert, step)]
    first = next((i for i in range(len(seen)) if sum(seen[max(0, i - n + 1) : i + 1]) >= k), None)
    assert alerts[:1] == ([] if first is None else [first])


@given(misses=st.lists(st.integers(0, 4), min_size=1, max_size=10), drift=st.floats(-8, 8))
def test_one_id_through_short_misses(misses: list[int], drift: float) -> None:
    """Up to four frames unseen (five end a track), while the region drifts steadily."""
    story = Story().frames(1.0)
    x = 400.0
    for missed in [0, 0, 0, 0, *misses]:
        for there in [True, True, True] + [False] * missed:
            x += drift
            story.frame(*([detection(x)] if there else []))
    events = story.events()
    (finding,) = only(FindingEnded, events)
    assert finding.track == 1
    assert finding.frames == 3 * (4 + len(misses))
    assert len(only(Alert, events)) == 1


@given(stream=streams(), confirm=st.integers(1, 5), end_s=st.floats(0, 2), after_s=st.floats(0, 2))
@settings(max_examples=50)
def test_the_books_balance_under_any_numbers(stream: list[Item], confirm: int, end_s: float, after_s: float) -> None:
    rows = tuple(msgspec.structs.replace(row, after_s=after_s, hold_s=end_s) for row in CONFIG.alerts)
    free = tuple(msgspec.structs.replace(row, kind=f"{row.kind}_always", in_procedure=False) for row in rows[1:])
    config = RulesConfig(
        tracks=TracksConfig(confirm=confirm, window=5, end_after_frames=1, end_after_s=end_s),
        view=CONFIG.view,
        procedure=CONFIG.procedure,
        alerts=rows + free,
    )
    steps = play(stream, config)
    raised = Counter((e.kind, e.procedure, e.track) for e in only(Alert, flat(steps)))
    cleared = Counter((e.kind, e.procedure, e.track) for e in only(AlertCleared, flat(steps)))
    assert raised == cleared


def test_same_input_same_output() -> None:
    story = Story().frames(1, detection()).gaps(4).frames(2, detection())
    assert story.events() == story.events()
    assert len(story.events()) > 4
