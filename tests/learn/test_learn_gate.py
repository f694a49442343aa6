"""What may leave in a person's words, and what may not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from server.learn.gate import Gate
from server.learn.known import Known
from server.learn.letters import plain
from server.learn.vocabulary import Vocabulary, load
from tests.learn.conftest import Make
from tools import export_example

KNOWN, NUMBER, SIGN, WORD = "names or numbers that are known", "a date, a time of day or a number", "a sign", "a word"


@pytest.fixture
def gate(make: Make, english: Vocabulary) -> Gate:
    case = make()
    return Gate.of(case.record, Known.of(case), english)


@pytest.fixture
def gate_de(make: Make, german: Vocabulary) -> Gate:
    case = make(language="de")
    return Gate.of(case.record, Known.of(case), german)


@pytest.mark.parametrize(
    "text",
    [
        "The caecum was reached and photographed.",
        "A flat polyp of 6 mm in the ascending colon, Paris 0-IIa, was seen from 1 min 46 s to 1 min 57 s.",
        "BBPS 2 in every segment; the preparation was adequate in 93 % of 5210 views.",
        "Two sessile polyps, 3-5 mm, removed by cold snare (F2, F3).",
        "Barrett's epithelium, Prague C1 M2.",
        "No bleeding after removal. Yellow coating was washed off.",
        "The patient tolerated it well!",
        "2.5 cm from the anus",
    ],
)
def test_a_finding_in_plain_words_leaves(gate: Gate, text: str) -> None:
    assert (gate.free(text), gate.unknown(text)) == ("", [])


@pytest.mark.parametrize(
    "text",
    [
        "Der Zäkalpol wurde erreicht.",
        "Flacher Polyp von 6 mm, Paris 0-IIa, mit der Kaltschlinge abgetragen und geborgen.",
        "Mehrere kleine Polypen im Sigma; keine Blutung.",
        "Divertikulose ohne Entzündungszeichen.",
        "Rückzugszeit 8 min 11 s, Sicht gut.",
    ],
)
def test_and_so_does_a_german_one(gate_de: Gate, text: str) -> None:
    assert (gate_de.free(text), gate_de.unknown(text)) == ("", [])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Seen by Example.", KNOWN),  # the patient's family name, and the institution's
        ("The polyp of ERIKA was removed.", KNOWN),
        ("Removed by E x a m p l e.", KNOWN),
        ("Erika's polyp was flat.", KNOWN),
        ("Ｅｒｉｋａ was seen.", SIGN),
        ("Removed by Oberhuber.", KNOWN),
        ("Removed by OBERHUBER-Maximilian.", KNOWN),
        ("As seen in ward seven.", KNOWN),
        ("Number 0000123.", KNOWN),
        ("Number 123.", KNOWN),
        ("As on example-box.", KNOWN),
        ("Born 1961-04-05.", KNOWN),
        ("Born 5.4.1961.", NUMBER),
        ("Born 05 04 1961.", KNOWN),
        ("As on 3.3.2025.", NUMBER),
        ("As on 3. 3. 25.", NUMBER),
        ("As in 2019.", NUMBER),
        ("At 10:05 the end.", NUMBER),
        ("Follow 030 12 34 56.", NUMBER),
        ("Follow +49 30 123456.", NUMBER),
        ("Seen 12-03.", NUMBER),
        ("Seen 4/7.", NUMBER),
        ("Case A127B.", NUMBER),
        ("Write to someone@clinic.org.", NUMBER),
        ("See https://clinic.org.", NUMBER),
        ("Seen by Dr. Brown.", WORD),
        ("Seen by Brown.", WORD),
        ("Brown was seen.", WORD),
        ("Polyp removed. Long was seen.", WORD),
        ("Seen by Miller.", WORD),
        ("The plumber was seen.", WORD),
        ("In March, a polyp.", WORD),
        ("In Berlin, a polyp.", WORD),
        ("POLYP removed.", WORD),
        ("Роlур removed.", WORD),
        ("polyp\u200bremoved", SIGN),
        ("polyp #four", SIGN),
        ("a polyp 👍", SIGN),
        ("a\ttab_polyp", SIGN),
        ("ＭＩＬＬＥＲ was seen", SIGN),
    ],
)
def test_whatever_could_be_somebody_stays(gate: Gate, text: str, why: str) -> None:
    assert gate.free(text) == why


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("Müller", "Polyp von Mueller."),
        ("Müller", "Polyp von MULLER."),
        ("Groß", "Groß war der Polyp."),
        ("Klein", "Polyp klein."),
        ("van der Berg", "Polyp vom Vanderberg."),
        ("Stein", "Stein's Polyp"),
        ("Öz", "Polyp bei Oez"),
        ("Oz", "Polyp bei Öz"),
        ("Łukasz", "Polyp bei Lukasz"),
    ],
)
def test_a_name_is_found_however_it_is_written(make: Make, german: Vocabulary, family: str, text: str) -> None:
    case = make(language="de")
    case = type(case)(case.record, case.draft, case.signed, case.frames, replace(export_example.PATIENT, family=family))
    assert Gate.of(case.record, Known.of(case), german).free(text) == KNOWN


def test_a_small_part_of_a_name_is_no_name(make: Make, german: Vocabulary) -> None:
    case = make(language="de")
    case = type(case)(
        case.record, case.draft, case.signed, case.frames, replace(export_example.PATIENT, family="von Hof")
    )
    gate = Gate.of(case.record, Known.of(case), german)
    assert gate.free("Polyp von 5 mm") == ""
    assert gate.free("Polyp von Hof") == KNOWN


def test_without_a_list_no_word_of_a_person_leaves(make: Make) -> None:
    case = make()
    assert load("fi") is None
    assert Gate.of(case.record, Known.of(case), None).free("polyyppi") == "language"


def test_a_template_may_use_a_patients_name_as_a_word(make: Make, english: Vocabulary) -> None:
    """A machine that knows no name names nobody; whole numbers and dates are looked for all the same."""
    case = make()
    case = type(case)(case.record, case.draft, case.signed, case.frames, replace(export_example.PATIENT, family="Good"))
    gate = Gate.of(case.record, Known.of(case), english)
    assert gate.machine("The view was good for 13 min 23 s.") == ""
    assert gate.free("The view was good for 13 min 23 s.") == KNOWN
    assert gate.machine(f"Procedure {case.record.procedure.upper()}.") == KNOWN
    assert gate.machine("Started on 2026-03-02 at 09:30.") == NUMBER


@given(text=st.text(max_size=60))
def test_what_leaves_holds_nothing_but_listed_words(text: str) -> None:
    vocabulary = load("en")
    assert vocabulary is not None
    gate = Gate(Known(frozenset(), frozenset(), frozenset(), frozenset()), vocabulary)
    if gate.free(text) == "":
        assert not re.search(r"\d{4}", text)
        assert all(vocabulary.allows(word, True) for word in re.findall(r"[^\W\d_]{3,}", text))


_NAME = st.text(st.characters(categories=["Lu", "Ll"], max_codepoint=0x17F), min_size=3, max_size=12).filter(
    lambda name: len(plain(name)) > 2
)


@given(name=_NAME, frame=st.sampled_from(["Polyp of {}.", "{}: polyp", "Polyp ({}s)", "the {} polyp"]))
def test_no_known_name_ever_leaves(name: str, frame: str) -> None:
    vocabulary = load("en")
    names = frozenset([plain(name)])
    gate = Gate(Known(names, names, frozenset(), frozenset()), vocabulary)
    for written in (name, name.upper(), name.title(), name.lower()):
        assert gate.free(frame.format(written)) != ""


def test_no_list_holds_a_word_twice_over() -> None:
    """A colour that is a name as well would leave with a capital if it were a plain word, too."""
    for language in ("en", "de"):
        vocabulary = load(language)
        assert vocabulary is not None
        assert not vocabulary.words & vocabulary.names_too
        assert not [word for word in vocabulary.words | vocabulary.names_too if not word.isalpha()]
