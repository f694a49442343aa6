"""The template says what the record says: all of it, in both languages, and nothing else."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.procedure import Finding, Interruption, Landmark, Record, Times
from server.report import Report, Section
from server.words import specimens, template, values
from server.words.check import Check
from server.words.checklist import Lists
from server.words.errors import WordsError
from server.words.lexicon import LANGUAGES

RECORDS = st.builds(specimens.record, st.integers(0, 1 << 32), hostile=st.booleans())
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def texts(report: Report, section: str = "") -> list[str]:
    return [one.text for one in report.sentences if section in ("", one.section)]


@given(RECORDS)
@QUICK
def test_both_languages_say_the_same(lists: Lists, record: Record) -> None:
    said = []
    for language in LANGUAGES:
        check = Check(record, lists, language)
        sentences = template.draft(record, language, lists).sentences
        said.append([(one.section, one.cites, check.sentence(one.text, one.cites).claims) for one in sentences])
    assert said[0] == said[1]


@given(RECORDS, st.sampled_from(LANGUAGES))
@QUICK
def test_every_sentence_cites_facts_and_every_section_is_filled(lists: Lists, record: Record, language: str) -> None:
    report = template.draft(record, language, lists)
    assert {one.section for one in report.sentences} == set(get_args(Section))
    assert all(one.cites and set(one.cites) <= record.ids() and one.by == "template" for one in report.sentences)
    assert [one.id for one in report.sentences] == [f"S{n}" for n in range(1, len(report.sentences) + 1)]
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
    assert all(sign.isprintable() for text in texts(report) for sign in text)
    assert {id for one in report.sentences for id in one.cites} == record.ids()


@given(RECORDS)
@QUICK
def test_the_template_makes_no_unsupported_claim(lists: Lists, record: Record) -> None:
    for language in LANGUAGES:
        check = Check(record, lists, language)
        sentences = template.draft(record, language, lists).sentences
        assert [(one.text, why) for one in sentences if (why := check.sentence(one.text, one.cites).struck)] == []


@given(RECORDS)
@QUICK
def test_what_the_list_asks_for_and_the_record_lacks_is_said(lists: Lists, record: Record) -> None:
    check, claimed = Check(record, lists, "en"), set[str]()
    for one in template.draft(record, "en", lists).sentences:
        claimed |= check.sentence(one.text, one.cites).claims
    assert {f"missing.{item.key}" for item in lists.of(record).missing(record)} <= claimed
    assert {one.id for one in record.findings} == {one.split(".")[0] for one in claimed if one.endswith(".label")}
    assert {one.id for one in record.landmarks} == {one.split(".")[0] for one in claimed if one.endswith(".kind")}


def test_what_it_says_of_a_procedure(lists: Lists, record: Record) -> None:
    assert texts(template.draft(record, "en", lists))[:18] == [
        "Kind of procedure: colonoscopy.",
        "The procedure started on 2026-03-02 09:30 UTC.",
        "The procedure took 14 min 52 s.",
        "Insertion took 6 min 41 s.",
        "Withdrawal took 8 min 11 s.",
        "Of the withdrawal, 31 s passed without a good view and without an instrument.",
        "No interruption of the picture was recorded.",
        "View: good for 13 min 23 s.",
        "View: poor by blur for 1 min 29 s.",
        "Withdrawal is not below the list's 6 min.",
        "Preparation: adequate in 93 % of 5210 views; 301 unsure views.",
        "Landmark seen: caecum at 6 min 40 s, score 0.94.",
        "Possible polyp in insertion: seen from 1 min 46 s to 1 min 57 s, best at 1 min 50 s, score 0.91; "
        "announced while in view.",
        "Possible polyp in insertion: seen from 2 min 56 s to 3 min 7 s, best at 3 min, score 0.92; "
        "announced while in view.",
        "Possible polyp in withdrawal: seen from 7 min 46 s to 7 min 57 s, best at 7 min 50 s, score 0.93; "
        "announced while in view.",
        "3 possible polyps were marked.",
        "Landmarks seen: caecum.",
        "The box assists only: it makes no diagnosis and advises no treatment; a clinician judges what it marked.",
    ]


def test_what_it_says_of_one_that_was_cut_short(lists: Lists, record: Record) -> None:
    replace = msgspec.structs.replace
    cut = replace(
        record,
        state="interrupted",
        heading=replace(record.heading, clock_trusted=False),
        times=Times(duration_s=200.0, view_s={}, insertion_s=100.0, withdrawal_s=100.0, withdrawal_tool_s=40.5),
        landmarks=(),
        findings=(),
        judgements=(),
        interruptions=(Interruption(id="I1", state="no_signal", from_s=10.0, to_s=75.9),),
    )
    english, german = (texts(template.draft(cut, language, lists)) for language in LANGUAGES)
    assert english[:15] == [
        "Kind of procedure: colonoscopy.",
        "The box's clock was not set: date and time are not known.",
        "The procedure took 3 min 20 s.",
        "The record ends before the procedure did.",
        "Insertion took 1 min 40 s.",
        "Withdrawal took 1 min 40 s.",
        "Of the withdrawal, 40 s passed with an instrument in view.",
        "Interruption of the picture from 10 s to 1 min 15 s, for 1 min 5 s: no signal.",
        "Withdrawal without the time with an instrument took 59 s.",
        "Withdrawal without the time with an instrument is below the list's 6 min.",
        "Nothing was judged by the box.",
        "No landmark was recorded.",
        "The box marked nothing.",
        "The box assists only: it makes no diagnosis and advises no treatment; a clinician judges what it marked.",
        "Not recorded before the procedure: patient, indication, informed consent, ASA class, anticoagulants, "
        "preparation regimen.",
    ]
    assert "Die Uhr des Geräts war nicht gestellt: Datum und Uhrzeit sind nicht bekannt." in german
    assert "Unterbrechung des Bildes von 10 s bis 1 min 15 s, 1 min 5 s: kein Signal." in german


def test_a_label_is_text_and_never_a_template(lists: Lists, record: Record) -> None:
    labels = ["{{ 7 * 7 }}", "<b onclick='x'>", "a\nF1 | b", "“x” ,", "\u202e\x00\u200b", "y" * 900]
    findings = tuple(
        msgspec.structs.replace(record.findings[0], id=f"F{n}", label=label) for n, label in enumerate(labels, start=1)
    )
    said = texts(template.draft(msgspec.structs.replace(record, findings=findings), "en", lists), "findings")
    shown = [text.partition("”")[0].partition("“")[2] for text in said]
    assert shown == ["{{ 7 * 7 }}", "<b onclick='x'>", "a F1 | b", "'x' ,", "–", "y" * 59 + "…"]


def test_more_than_can_be_listed_is_counted(lists: Lists, record: Record) -> None:
    one = record.findings[0]
    many = tuple(msgspec.structs.replace(one, id=f"F{n}", track=n, key_frame=None) for n in range(1, values.LISTED + 8))
    report = template.draft(msgspec.structs.replace(record, findings=many), "en", lists)
    assert len(texts(report, "findings")) == values.LISTED
    assert "1007 possible polyps were marked." in texts(report)
    assert "There were 7 more than are listed here." in texts(report)
    check = Check(msgspec.structs.replace(record, findings=many), lists, "en")
    assert all(not check.sentence(one.text, one.cites).struck for one in report.sentences)


def test_figures_that_cannot_be_are_not_said(lists: Lists, record: Record) -> None:
    wild = Finding(
        id="F1", label="polyp", track=1, phase="", first_seen_s=-3.0, last_seen_s=1e300, best_seen_s=2.0, frames=1,
        best_score=1.5, alerted=False,
    )  # fmt: skip
    landmark = Landmark(id="L1", kind="caecum", first_seen_s=1e300, best_score=-1.0)
    times = Times(duration_s=-1.0, withdrawal_s=1e300, view_s={"good": -1.0})
    record = msgspec.structs.replace(record, findings=(wild,), landmarks=(landmark,), times=times)
    report = template.draft(record, "en", lists)
    assert texts(report, "findings") == ["Possible polyp: seen, best at 2 s; not announced."]
    assert texts(report, "landmarks") == ["Landmark seen: caecum."]
    assert any("duration, insertion time, withdrawal time" in text for text in texts(report, "not_recorded"))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (60, "1 min"), (892.9, "14 min 52 s"), (3725, "1 h 2 min 5 s")]
)
def test_how_a_time_is_written(seconds: float, text: str) -> None:
    assert values.span(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (1, "100 %"), (0.93, "93 %"), (0.9999, "99.99 %"), (0.0004, "0.04 %")]
)
def test_a_share_is_never_rounded_to_all_or_nothing(share: float, text: str) -> None:
    assert values.percent(share, ".") == text


def test_a_language_without_words_is_refused(lists: Lists, record: Record) -> None:
    with pytest.raises(WordsError, match="language 'fr': expected one of en, de"):
        template.draft(record, "fr", lists)


def test_a_box_that_spared_itself_says_so(lists: Lists, record: Record) -> None:
    times = msgspec.structs.replace(record.times, effort_s={"full": 800.0, "regions": 92.0})
    told = {"landmarks": "for 92 s the box spared its board and did not look for them"}
    told |= {"findings": "7 more, after the first 2000"}
    spared = msgspec.structs.replace(record, times=times, not_recorded=record.not_recorded | told)
    english, german = (texts(template.draft(spared, language, lists)) for language in LANGUAGES)
    assert "Effort of the box: whole pictures not judged for 1 min 32 s." in english
    assert "Not recorded: some landmarks; for 92 s the box spared its board and did not look for them." in english
    assert "Nicht erfasst: manche Landmarken; für 92 s schonte sich das Gerät und suchte nicht danach." in german
    assert "Nicht erfasst: weitere Befunde; 7 weitere nach den ersten 2000." in german
    check = Check(spared, lists, "de")
    assert check.sentence("Nicht erfasst: weitere Befunde; 8 weitere nach den ersten 2000.", ["T1"]).struck
