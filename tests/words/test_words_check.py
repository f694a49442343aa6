"""What the check lets stand, and what it strikes out."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.procedure import Record
from server.report import Sentence
from server.words import specimens, template, trials
from server.words.check import Check, check
from server.words.checklist import Lists
from server.words.lexicon import LANGUAGES

SEEDS = st.integers(0, 1 << 32)
QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(SEEDS, st.sampled_from(LANGUAGES), st.booleans())
@QUICK
def test_no_lie_stands(lists: Lists, seed: int, language: str, hostile: bool) -> None:
    record = specimens.record(seed, hostile=hostile)
    checked, sentences = Check(record, lists, language), template.sentences(record, language, lists)
    told = trials.lies(record, sentences, language, random.Random(seed))
    assert [one for one in told if not checked.sentence(one.text, one.cites).struck] == []


@given(SEEDS, st.text(max_size=200), st.sampled_from(LANGUAGES))
@QUICK
def test_any_text_gets_an_answer(lists: Lists, seed: int, text: str, language: str) -> None:
    record = specimens.record(seed)
    said = Check(record, lists, language).sentence(text, record.ids())
    assert said.struck
    assert said.struck.isprintable()


@given(SEEDS, st.data())
@QUICK
def test_a_true_sentence_falls_with_other_ids(lists: Lists, seed: int, data: st.DataObject) -> None:
    """Of another fact it is not true; only what two facts share may stand."""
    record = specimens.record(seed)
    checked = Check(record, lists, "en")
    one = data.draw(st.sampled_from(template.sentences(record, "en", lists)))
    other = data.draw(st.sampled_from(sorted(record.ids())))
    if other[0] not in {id[0] for id in one.cites}:
        assert checked.sentence(one.text, (*one.cites, other)).struck
        assert checked.sentence(one.text, (other,)).struck
        assert checked.sentence(one.text, ()).struck == "it cites nothing"
    assert checked.sentence(one.text, ("F777",)).struck == "it cites F777, not in the record"


STANDS = [
    ("Insertion took 6:41 min and withdrawal 8:11 min.", "T1"),
    ("Insertion took 6 minutes and 41 seconds, withdrawal 491 s.", "T1"),
    ("The procedure took 15 minutes.", "T1"),
    ("Withdrawal took 8.2 min, of which 31 s passed without a good view and without an instrument.", "T1"),
    ("The view was good for 13 min 23 s and blurred for 1 min 29 s.", "T1"),
    ("A possible polyp was seen at 1 min 50 s.", "F1"),
    ("During insertion, a possible polyp was visible between 1 min 46 s and 1 min 57 s.", "F1"),
    ("Three possible polyps were marked, at 1:50, 3:00 and 7:50.", "F1 F2 F3"),
    ("Two possible polyps were marked in insertion and one possible polyp in withdrawal.", "F1 F2 F3"),
    ("Possible polyps were seen.", "F1 F2"),
    ("The caecum was reached after 6 minutes and 40 seconds.", "L1"),
    ("The bowel preparation was judged adequate.", "J1"),
    ("The preparation was inadequate in 7 %.", "J1"),
    ("Sizes, histology and treatment were not recorded.", "T1"),
    ("The colonoscopy took 14 min 52 s.", "T1"),
    ("The box assists only.", "T1"),
]


@pytest.mark.parametrize(("text", "cites"), STANDS)
def test_other_words_for_the_same_stand(lists: Lists, record: Record, text: str, cites: str) -> None:
    assert Check(record, lists, "en").sentence(text, cites.split()).struck == ""


FALLS = [
    ("", "T1", "it is empty"),
    ("The procedure took 14 min 52 s.", "", "it cites nothing"),
    ("The procedure.", "T1", "it says nothing of the record"),
    ("The procedure took 14 min 52 s.", "T1 F1", "it cites F1 and does not speak of it"),
    ("Insertion took 8 min 11 s.", "T1", "no number of a fact"),  # the withdrawal's
    ("The caecum was seen at 8 min 11 s.", "L1 T1", "no number of a fact"),
    ("Withdrawal took 9 min.", "T1", "no number of a fact"),
    ("Withdrawal took 8 h.", "T1", "no number of a fact"),
    ("Withdrawal is below the list's 6 min.", "T1", "no number of a fact"),
    ("2 possible polyps were marked.", "F1 F2", "no number of a fact"),  # of three
    ("Possible polyps were seen.", "F1", "speaks of several findings"),
    ("Possible polyps were seen from 1 min 46 s to 3 min 7 s.", "F1 F2", "numbers of several facts"),
    ("A possible polyp was seen from 1 min 57 s to 1 min 46 s.", "F1", "no number of a fact"),
    ("A possible polyp was seen in withdrawal.", "F1", "F1 was not seen in withdrawal"),
    ("A possible polyp with score 0.95.", "F1", "no number of a fact"),
    ("A possible polyp with score 1.", "F1", "no number of a fact"),
    ("A possible polyp with score 93 %.", "F3", "“%” without a number"),
    ("A possible polyp was not announced.", "F1", "“not_alerted” is in no fact"),
    ("A possible polyp, F2, was seen.", "F1", "speaks of F2 and does not cite it"),
    ("A possible polyp was seen in the caecum.", "F1 L1", "site: a finding and a landmark"),
    ("The rectum was seen.", "L1", "“rectum” is in no fact"),
    ("The caecum was not reached.", "L1", "negation"),
    ("No polyps were seen.", "T1", "negation"),
    ("The box marked nothing.", "T1", "“no_findings” is in no fact"),
    ("No landmark was recorded.", "T1", "“no_landmarks” is in no fact"),
    ("A polyp was seen at 1 min 50 s.", "F1", "certainty"),
    ("The preparation was adequate in 7 %.", "J1", "no number of a fact"),
    ("The preparation was inadequate.", "J1", "“inadequate” is in no fact"),
    ("The possible polyp was adequate.", "F1 J1", "does not say of what: verdict"),
    ("Preparation: no verdict.", "J1", "“no_verdict” is in no fact"),
    ("The view was good.", "T1", "“view” is in no fact"),
    ("The duration was recorded as not recorded.", "T1", "recorded"),
    ("Not recorded: duration.", "T1", "“duration” is recorded"),
    ("Not recorded: size of findings; the box does not judge histology.", "T1", "not why “size” is missing"),
    ("Not recorded before the procedure: histology.", "T1", "not of that part"),
    ("Not recorded: size of findings, 12 mm.", "T1", "“12” has no place"),
    ("Not recorded: histology.", "F1", "expected T1"),
    ("Interruption from 1 min to 2 min.", "T1", "no number of a fact"),
    ("Another possible polyp was seen.", "F1", "“Another” is not understood"),
    ("An image of a possible polyp was kept.", "F1", "“image” is not understood"),
    ("Withdrawal took 8 min 11 s with an instrument in view.", "T1", "no number of a fact"),
    ("Withdrawal began after 6 min 41 s.", "T1", "no number of a fact"),
    ("Insertion is not below the list's 6 min.", "T1", "no number of a fact"),
    ("At least 3 possible polyps were marked.", "F1 F2 F3", "no number of a fact"),
    ("3 possible polyps were marked in withdrawal.", "F1 F2 F3", "no number of a fact"),
    ("Of the 3 possible polyps, 2 were marked in insertion.", "F1 F2 F3", "without a unit"),
    ("The caecum was seen for 6 min 40 s.", "L1", "no number of a fact"),
    ("The caecum was seen in withdrawal.", "L1", "“withdrawal” is in no fact"),
    ("The view was good for 13 min 23 s in withdrawal.", "T1", "no number of a fact"),
    ("The withdrawal was reached.", "T1", "“withdrawal” is in no fact"),
    ("The state was good.", "T1", "“good” is in no fact"),
    ("A possible finding “polyp, 12 mm” was seen.", "F1", "quoted from no fact"),
    ("“nobody said that”", "T1", "is quoted from no fact"),
    ("The gastroscopy took 14 min 52 s.", "T1", "no number of a fact"),
    ("The procedure started on 2027-03-02 09:30 UTC.", "T1", "no number of a fact"),
    ("The procedure took 14 min 52 s!", "T1", "a sign that is not understood: '!'"),
    ("The procedure took 1 4 min 52 s.", "T1", "follows a number without a unit"),
    ("A possible polyp in insertion; insertion from 1 min 46 s to 1 min 57 s.", "F1", "no number of a fact"),
    ("A possible polyp in insertion was seen. Insertion took 11 s.", "F1", "no number of a fact"),
    ("The procedure took -14 min 52 s.", "T1", "a sign that is not understood"),
    ("The procedure took １４ min 52 s.", "T1", "a sign that is not understood"),
    ("The procedure took 14 min 52 s\u200b.", "T1", "a sign that is not understood: '\\u200b'"),
    ("A роssible polyp was seen.", "F1", "a sign that is not understood"),
    ("x" * 601, "T1", "longer than 600"),
]


@pytest.mark.parametrize(("text", "cites", "why"), FALLS)
def test_what_the_facts_do_not_say_falls(lists: Lists, record: Record, text: str, cites: str, why: str) -> None:
    assert why in Check(record, lists, "en").sentence(text, cites.split()).struck


GERMAN = [
    ("Der Vorschub dauerte 6 min 41 s und der Rückzug 8 min 11 s.", "T1", ""),
    ("Im Vorschub war ein möglicher Polyp sichtbar von 1 min 46 s bis 1 min 57 s.", "F1", ""),
    ("Das Zökum wurde bei 6 min 40 s erreicht.", "L1", ""),
    ("Drei mögliche Polypen wurden markiert.", "F1 F2 F3", ""),
    ("Ein möglicher Dickdarmpolyp wurde gesehen.", "F1", "“möglicher” is not understood"),
    ("Ein möglicher Polyp im Zökumpol.", "F1", "site"),
    ("Polypengröße 12 mm.", "F1", "size"),
    ("Schlingenabtragung.", "F1", "treatment"),
    ("Kein Polyp wurde gesehen.", "T1", "negation"),
    ("Der Polyp wurde gesehen.", "F1", "certainty"),
    ("Einundzwanzig mögliche Polypen.", "F1 F2 F3", "“Einundzwanzig” is not understood"),
]


@pytest.mark.parametrize(("text", "cites", "why"), GERMAN)
def test_the_same_in_german(lists: Lists, record: Record, text: str, cites: str, why: str) -> None:
    struck = Check(record, lists, "de").sentence(text, cites.split()).struck
    assert (why in struck) if why else struck == ""


def test_rounding_does_not_cross_a_threshold(lists: Lists, record: Record) -> None:
    times = msgspec.structs.replace(record.times, withdrawal_s=345.0)
    checked = Check(msgspec.structs.replace(record, times=times), lists, "en")
    assert checked.sentence("Withdrawal took 5 min 45 s.", ["T1"]).struck == ""
    assert "no number" in checked.sentence("Withdrawal took 6 min.", ["T1"]).struck


def test_a_person_may_say_anything(lists: Lists, record: Record) -> None:
    told = Sentence(id="S1", section="findings", text="Removed by snare, 12 mm.", by="person", author="E. Test")
    machine = msgspec.structs.replace(told, by="model", author="", cites=("F1",))
    person, struck = check(record, (told, machine), lists, "en")
    assert person == told
    assert struck.struck.startswith("treatment")


def test_most_of_what_says_the_same_in_other_words_stands(lists: Lists, record: Record) -> None:
    for language in LANGUAGES:
        checked, sentences = Check(record, lists, language), template.sentences(record, language, lists)
        tried = list(trials.truths(sentences, language))
        stood = [one for one in tried if not checked.sentence(one.text, one.cites).struck]
        assert len(stood) > 0.6 * len(tried) > 0
