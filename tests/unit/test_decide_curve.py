"""A score over time: in little room, and the best is in it."""

from __future__ import annotations

import msgspec
from decide_story import Story, detection, only
from hypothesis import given
from hypothesis import strategies as st

from edge.decide.chronicle import MOST as MOST_FINDINGS
from edge.decide.chronicle import Chronicle
from edge.decide.curve import FINEST_NS, MOST, Curve
from edge.decide.moment import Moment
from edge.decide.states import ViewGate
from edge.messages import Event, FindingEnded, Message, ProcedureStarted, SignalChanged
from edge.procedure import Finding, KeyFrame, Record
from edge.spooled import RECORD_MOST
from edge.types import Gap, SignalState
from tests.unit.decide_story import CONFIG
from tests.unit.test_decide_chronicle import HEADING, TURNING, told

S = 1_000_000_000
Seen = list[tuple[int, float]]
seen = st.lists(st.tuples(st.integers(0, 200 * S), st.floats(0, 1)), min_size=1, max_size=300).map(sorted)


def made(of: Seen, since_ns: int = 0) -> Curve:
    curve = Curve(since_ns)
    for ns, score in of:
        curve.add(since_ns + ns, score)
    return curve


@given(seen, st.integers(-5 * S, 10**6 * S))
def test_each_slot_has_the_best_of_its_time_and_there_are_few(of: Seen, since_ns: int) -> None:
    curve = made(of, since_ns)
    every_ns, slots = curve.every_ns, curve.slots
    expected = [0.0] * (of[-1][0] // every_ns + 1)
    for ns, score in of:
        expected[ns // every_ns] = max(expected[ns // every_ns], score)
    assert list(slots) == expected
    assert len(slots) <= MOST
    assert max(slots) == max(score for _, score in of)


@given(seen)
def test_a_slot_is_no_longer_than_it_has_to_be(of: Seen) -> None:
    curve = made(of)
    assert curve.every_ns == FINEST_NS or of[-1][0] >= MOST * curve.every_ns // 2
    assert curve.every_ns % FINEST_NS == 0


def test_a_day_and_an_hour_at_sixty_a_second() -> None:
    curve = made([(0, 0.5), (86_400 * S, 0.25)])
    assert (curve.slots[0], curve.slots[-1], max(curve.slots[1:-1])) == (0.5, 0.25, 0.0)
    curve = made([(n * S // 60, 0.7) for n in range(3600 * 60)])
    assert len(curve.slots) <= MOST
    assert set(curve.slots) == {0.7}


def test_a_finding_has_the_scores_of_its_track_from_first_to_last_sight() -> None:
    story = Story().frames(1.0).frames(1.0, detection(score=0.7)).frame(detection(score=0.9512345))
    (event,) = only(FindingEnded, story.frames(1.0).frames(0.5).events())
    assert event.scores == (0.7, 0.7, 0.7, 0.7, 0.951)
    assert event.scores_every_ns == FINEST_NS
    assert max(event.scores) == round(event.best_score, 3)
    assert event.first_seen_ns + len(event.scores) * event.scores_every_ns > event.media_ns


def test_what_was_not_seen_for_a_while_is_nothing() -> None:
    story = Story().frames(1.0).frames(0.5, detection()).frames(0.36).frames(0.5, detection()).frames(1.0)
    (finding,) = told(story).findings
    assert (finding.scores, finding.scores_every_s) == ((0.9, 0.9, 0.0, 0.9, 0.9, 0.9), 0.25)


def test_a_record_and_an_event_of_before_can_still_be_read() -> None:
    finding = told(Story().frames(1.0).frames(1.0, detection()).frames(1.0)).findings[0]
    old = msgspec.to_builtins(finding)
    del old["scores"], old["scores_every_s"]
    read = msgspec.convert(old, Finding)
    assert (read.scores, read.scores_every_s) == ((), 0.0)
    assert msgspec.structs.replace(read, scores=finding.scores, scores_every_s=finding.scores_every_s) == finding
    (event,) = only(FindingEnded, Story().frames(1.0).frames(1.0, detection()).events())
    message = Message(id="i", device="b", boot="x", seq=1, committed_at="2026-01-01T00:00:00Z", event=event)
    old = msgspec.to_builtins(message)
    del old["event"]["scores"], old["event"]["scores_every_ns"]
    assert msgspec.convert(old, Message) == msgspec.structs.replace(
        message, event=msgspec.structs.replace(event, scores=(), scores_every_ns=0)
    )


def noisy(findings: int, cuts: int) -> Record:
    """A model that sees things, and a cable that is loose: each finding as large as one can be."""
    chronicle, view, at = Chronicle(TURNING.procedure), ViewGate(CONFIG.view), Moment(86_400 * S, 5)
    events: list[Event] = [ProcedureStarted(procedure="run-1", captured_ns=5, media_ns=0)]
    for number in range(1, findings + 1):
        events.append(
            FindingEnded(
                label="adenomatous_polyp", track=number, procedure="run-1", captured_ns=5, media_ns=at.ns,
                first_seen_ns=12_345_678_901, frames=1_000_000, best_score=1 / 3, best_box=(1.0, 2.0, 3.0, 4.0),
                best_seen_ns=23_456_789_012, scores=(0.123,) * MOST, scores_every_ns=FINEST_NS << 10,
            )
        )  # fmt: skip
    for number in range(cuts):
        for state, previous in (
            (SignalState.PROTECTED_SUSPECT, SignalState.LIVE),
            (SignalState.LIVE, SignalState.BARS),
        ):
            ns = number * 20 * S + (state is SignalState.LIVE) * S
            events.append(SignalChanged(state=state, previous=previous, captured_ns=5, media_ns=ns))
    gap = Gap(captured_ns=5, media_ns=at.ns, state=SignalState.LIVE, detail="")
    chronicle.step(at, gap, events, view)
    return chronicle.copy().record(HEADING, "running")


def test_a_record_stays_small_enough_to_be_sent_and_says_what_it_leaves_out() -> None:
    record = noisy(MOST_FINDINGS + 7, MOST_FINDINGS + 3)
    frame = KeyFrame(
        sha256="0" * 64, size=10**7, width=1920, height=1080, at_s=86_399.999, box=(1919.5, 1079.5, 1919.5, 1079.5)
    )
    findings = tuple(msgspec.structs.replace(one, key_frame=frame) for one in record.findings)
    assert len(msgspec.json.encode(msgspec.structs.replace(record, findings=findings))) < RECORD_MOST
    assert (len(record.findings), len(record.interruptions)) == (MOST_FINDINGS, MOST_FINDINGS)
    assert record.not_recorded["findings"] == f"7 more, after the first {MOST_FINDINGS}"
    assert record.not_recorded["interruptions"] == f"3 more, after the first {MOST_FINDINGS}"
    assert not {"findings", "interruptions"} & set(noisy(MOST_FINDINGS, MOST_FINDINGS).not_recorded)
