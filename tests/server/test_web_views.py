"""What the review page makes of records and reports, without a server."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup
from msgspec.structs import replace

from edge.procedure import Finding, Interruption, Record
from server import edits
from server.clock import UTC
from server.listing import Box
from server.report import Report, Signature
from server.reports import Version
from server.web import boxes, diff, evidence, forms, pages, timeline
from server.web.view import View, view
from tests.support import desk_of_reports as desk
from tools import export_example

RECORD = desk.example()[0]
DRAFT = export_example.draft()
ADA = Signature(account="ada", name="Dr. Ada", at="2026-01-01T00:00:00Z")
SECONDS = st.floats(min_value=-1e4, max_value=1e5, allow_nan=False)


def _version(report: Report = DRAFT, number: int = 1) -> Version:
    return Version(number=number, what="drafted", author="", at="2026-01-01T00:00:00.000000Z", report=report)


def _view(record: Record = RECORD, report: Report | None = DRAFT, **more: Any) -> View:
    return view(record, _version(report) if report is not None else None, **more)


# ------------------------------------------------------------------------------------------------ timeline


def _finding(number: int, first_s: float, length_s: float) -> Finding:
    times = {"first_seen_s": first_s, "last_seen_s": first_s + length_s, "best_seen_s": first_s}
    return replace(RECORD.findings[0], id=f"F{number}", **times)


@settings(deadline=None)
@given(
    st.floats(min_value=0, max_value=1e5, allow_nan=False),
    st.lists(st.tuples(SECONDS, st.floats(min_value=0, max_value=1e4)), max_size=20),
    st.lists(st.tuples(SECONDS, SECONDS), max_size=5),
)
def test_nothing_is_drawn_outside_a_timeline(
    duration_s: float, found: list[tuple[float, float]], lost: list[tuple[float, float]]
) -> None:
    record = replace(
        RECORD,
        times=replace(RECORD.times, duration_s=duration_s),
        findings=tuple(_finding(number, *one) for number, one in enumerate(found, 1)),
        interruptions=tuple(
            Interruption(id=f"I{number}", state="no_signal", from_s=a, to_s=b) for number, (a, b) in enumerate(lost, 1)
        ),
    )
    line = timeline.timeline(record)
    for bar in (*line.phases, *line.findings, *line.interruptions):
        assert bar.at >= 0
        assert bar.width > 0
        assert bar.at + bar.width <= 100.002
    assert all(0 <= mark.at <= 100 for mark in line.landmarks)
    assert all(0 <= tick.at <= 100 for tick in line.ticks)
    assert 1 <= len(line.ticks) <= timeline.TICKS_MOST + 1
    assert {bar.id for bar in line.findings} == {one.id for one in record.findings}
    assert line.lanes <= timeline.LANES_MOST


def test_findings_at_the_same_time_lie_in_different_lanes() -> None:
    record = replace(RECORD, findings=(_finding(1, 10, 60), _finding(2, 20, 60), _finding(3, 600, 9)))
    lanes = {bar.id: bar.lane for bar in timeline.timeline(record).findings}
    assert lanes == {"F1": 0, "F2": 1, "F3": 0}


def test_phases_are_where_the_record_says() -> None:
    insertion, withdrawal = timeline.timeline(RECORD).phases
    assert (insertion.at, withdrawal.at) == (0, pytest.approx(100 * 401.2 / 892.4, abs=0.01))
    assert withdrawal.at + withdrawal.width == pytest.approx(100, abs=0.01)
    unknown = replace(RECORD, times=replace(RECORD.times, insertion_s=None, withdrawal_s=None))
    assert timeline.timeline(unknown).phases == ()


# ------------------------------------------------------------------------------------------------ evidence


def test_every_fact_that_can_be_cited_has_its_evidence() -> None:
    found = evidence.facts(RECORD, DRAFT)
    assert {fact.id for fact in found} == RECORD.ids()
    by_id = {fact.id: fact for fact in found}
    assert by_id["F2"].said == ("S7",)
    rows = dict(by_id["F2"].rows)
    assert rows["Raised because"] == "followed through 202 frames, from 2:56 to 3:07"
    assert rows["Thresholds"].startswith("not in the record")
    assert rows["Announced"] == "yes, while it was in view"


@settings(deadline=None)
@given(
    st.lists(st.floats(min_value=-1, max_value=2, allow_nan=False), max_size=60), st.floats(min_value=0, max_value=60)
)
def test_a_chart_stays_within_its_frame(scores: list[float], every_s: float) -> None:
    made = evidence.chart(tuple(scores), every_s, 10.0)
    if not scores or every_s <= 0:
        assert made is None
    else:
        assert made is not None
        assert len(made.bars) == len(scores)
        assert all(0 <= bar <= 100 for bar in made.bars)


def test_a_record_without_scores_has_no_chart() -> None:
    record = replace(RECORD, findings=(replace(RECORD.findings[0], scores=(), scores_every_s=0.0),))
    assert {fact.chart for fact in evidence.facts(record, DRAFT)} == {None}


# ------------------------------------------------------------------------------------------------ the view


def test_sentences_are_told_apart_and_counted() -> None:
    changed = edits.change(DRAFT, "S5", "Seen.", None, "Dr. Ada", RECORD)
    changed = edits.strike(changed, "S6", "a fold", "Dr. Ada")
    checked = replace(changed, sentences=(replace(changed.sentences[0], struck="a size"), *changed.sentences[1:]))
    shown = _view(report=checked, may_change=True)
    said = {one.id: one for part in shown.parts for one in part.said}
    assert said["S1"].struck == "Struck out by the check: a size"
    assert said["S1"].may == ()
    assert (said["S5"].struck, said["S5"].may) == ("Replaced by Dr. Ada", ("restore",))
    assert said["S6"].struck == "Struck out by Dr. Ada: a fold"
    assert (said["S10"].mark, said["S10"].who, said["S10"].may) == ("P", "written by Dr. Ada", ("edit", "strike"))
    assert (shown.counts.machine, shown.counts.person, shown.counts.by_check, shown.counts.by_people) == (6, 1, 1, 2)
    assert shown.counts.standing == len(checked.standing())


def test_a_viewer_and_a_signed_report_offer_no_change() -> None:
    signed = edits.sign(DRAFT, ADA, 1)
    for shown in (_view(), _view(report=signed, may_change=True)):
        assert {one.may for part in shown.parts for one in part.said} == {()}


def test_what_is_not_as_it_should_be_is_said_plainly() -> None:
    record = replace(RECORD, state="interrupted", heading=replace(RECORD.heading, clock_trusted=False))
    fallen = replace(DRAFT, drafted=replace(DRAFT.drafted, fallback="timeout"))
    sha256 = next(record.key_frames()).sha256
    shown = _view(record, fallen, revisions=[1, 3], missing=[sha256])
    said = [banner.text for banner in shown.banners]
    assert [text.split(" ")[0] for text in said] == ["The", "The", "The", "1", "A"]
    assert "revision 3" in said[0]
    assert shown.banners[0].href.endswith("/3")
    assert "interrupted" in said[1]
    assert "clock was not set" in said[2]
    assert "of 4 key frames are not here" in said[3]
    assert "timeout" in said[4]
    assert "The draft is being made" in _view(report=None).banners[0].text


def test_a_label_is_shown_with_nothing_that_hides() -> None:
    assert pages.inert("a\u202egpj.exe\u2066\u200b\x00") == "a\ufffdgpj.exe\ufffd\ufffd\ufffd"
    assert pages.inert("Zökum – “ß” 漢字 עברית") == "Zökum – “ß” 漢字 עברית"
    assert pages.inert(Markup("<b>\u202e</b>")) == Markup("<b>\u202e</b>")


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_text_becomes_markup(text: str) -> None:
    report = edits.add(DRAFT, "summary", f"x{text}", (), "Dr. <b>Ada</b>", RECORD)
    shown = _view(report=report, may_change=True)
    made = pages.part("_report.html", "report", shown, None, "token")
    assert set(re.findall(r"<\s*/?\s*([a-zA-Z][a-zA-Z0-9]*)", made)) <= {
        "a", "button", "del", "div", "footer", "form", "h2", "h3", "header", "input", "li", "p", "section", "span",
        "strong", "ul",
    }  # fmt: skip
    assert "Dr. &lt;b&gt;Ada" in made


# --------------------------------------------------------------------------------------------- differences


def test_differences_are_told_word_by_word() -> None:
    changed = edits.change(DRAFT, "S5", "The caecum was seen at 6 min 41 s.", None, "Dr. Ada", RECORD)
    (change,) = diff.changes(DRAFT, changed)
    assert (change.kind, change.sentence, change.who) == ("replaced", "S10", "Dr. Ada")
    assert [piece.text for piece in change.pieces if piece.how == "old"] == ["40"]
    assert [piece.text for piece in change.pieces if piece.how == "new"] == ["41"]


def test_every_kind_of_change_is_told() -> None:
    struck = edits.strike(DRAFT, "S6", "a fold", "Dr. Ada")
    assert [(one.kind, one.why) for one in diff.changes(DRAFT, struck)] == [("struck", "a fold")]
    assert [one.kind for one in diff.changes(struck, DRAFT)] == ["restored"]
    added = edits.add(DRAFT, "summary", "Fine.", (), "Dr. Ada", RECORD)
    assert [one.kind for one in diff.changes(DRAFT, added)] == ["said"]
    assert [one.kind for one in diff.changes(added, DRAFT)] == ["gone"]
    once = edits.sign(DRAFT, ADA, 2)
    assert [(one.kind, one.who) for one in diff.changes(DRAFT, once)] == [("signed", "Dr. Ada")]
    assert [one.kind for one in diff.changes(once, DRAFT)] == ["unsigned"]
    assert {one.kind for one in diff.changes(None, DRAFT)} == {"said"}
    assert diff.changes(DRAFT, DRAFT) == ()


@settings(deadline=None)
@given(st.text(max_size=80), st.text(max_size=80))
def test_pieces_make_both_texts(before: str, after: str) -> None:
    pieces = diff.words(before, after)
    assert "".join(piece.text for piece in pieces if piece.how != "new") == before
    assert "".join(piece.text for piece in pieces if piece.how != "old") == after


# --------------------------------------------------------------------------------------------------- forms


def test_whoever_is_late_gets_the_form_again_with_what_was_typed() -> None:
    mine = forms.Open(kind="edit", sentence="S5", section="landmarks", text="Mine.", cites=("L1",))
    theirs = edits.change(DRAFT, "S5", "Theirs.", None, "Dr. Ben", RECORD)
    again = forms.late(theirs, mine, "ben")
    assert again is not None
    assert (again.kind, again.sentence, again.text, again.cites) == ("edit", "S10", "Mine.", ("L1",))
    assert "Theirs." in again.said
    elsewhere = forms.late(edits.strike(DRAFT, "S6", "", "Dr. Ben"), mine, "ben")
    assert elsewhere is not None
    assert (elsewhere.sentence, elsewhere.text) == ("S5", "Mine.")
    gone = forms.late(edits.strike(DRAFT, "S5", "", "Dr. Ben"), mine, "ben")
    assert gone is not None
    assert (gone.kind, gone.section, gone.text) == ("add", "landmarks", "Mine.")
    assert forms.late(edits.sign(DRAFT, ADA, 1), mine, "ada") is None


def test_a_sentence_that_was_replaced_twice_is_followed() -> None:
    once = edits.change(DRAFT, "S5", "One.", None, "Dr. Ben", RECORD)
    twice = edits.change(once, "S10", "Two.", None, "Dr. Ben", RECORD)
    found = forms.standing_in_for(twice, "S5")
    assert found is not None
    assert found.text == "Two."
    assert forms.standing_in_for(edits.strike(twice, "S11", "", "Dr. Ben"), "S5") is None


# --------------------------------------------------------------------------------------------------- boxes


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "just now"), (119, "just now"), (121, "2 minutes ago"), (3700, "1 hour ago"), (200_000, "2 days ago")],
)
def test_when_a_box_was_seen(seconds: float, said: str) -> None:
    now = datetime.datetime(2026, 1, 2, tzinfo=UTC)
    at = (now - datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    shown = boxes.seen(Box(device="b", software="", seen_at=at, revoked=False), now)
    assert (shown.ago, shown.lately) == (said, seconds < 120)
    assert boxes.seen(Box(device="b", software="", seen_at="", revoked=False)).ago == "never seen"
