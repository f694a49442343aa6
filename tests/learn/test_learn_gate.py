"""Names, numbers and days, however they are written."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from server.learn.gate import weighed
from server.learn.known import Known
from server.learn.letters import words
from tests.learn.conftest import Make
from tools import export_example

KNOWN, DAY = "names or numbers that are known", "a date or a time of day"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A possible polyp was seen from 1 min 46 s to 1 min 57 s, score 0.91.", ""),
        ("The preparation was adequate in 93 % of 5210 views.", ""),
        ("Withdrawal took 8 min 11 s.", ""),
        ("Seen by Example.", KNOWN),  # the patient's family name, and the institution's
        ("The polyp of ERIKA.", KNOWN),
        ("The polyp of E x a m p l e.", KNOWN),
        ("Erika's polyp.", KNOWN),
        ("Ｅｒｉｋａ was seen.", KNOWN),
        ("Seen by Oberhuber.", KNOWN),
        ("Seen by OBERHUBER-Maximilian.", KNOWN),
        ("Seen by moberhuber.", KNOWN),
        ("Seen by Test.", KNOWN),  # who signed
        ("As seen in ward seven.", KNOWN),
        ("Number 0000123.", KNOWN),
        ("Number 123.", KNOWN),
        ("As on example-box.", KNOWN),
        (f"As in {export_example.PROCEDURE}.", KNOWN),
        ("Born 1961-04-05.", KNOWN),
        ("Born 05 04 1961.", KNOWN),
        ("Born 5.4.1961.", DAY),
        ("As on 3.3.2025.", DAY),
        ("As on 3. 3. 25.", DAY),
        ("At 10:05 the end.", DAY),
        ("Write to someone@clinic.org.", DAY),
        ("See https://clinic.org.", DAY),
    ],
)
def test_a_persons_sentence(make: Make, text: str, why: str) -> None:
    assert weighed(text, Known.of(make()), machine=False) == why


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("Müller", "Polyp von Mueller."),
        ("Müller", "Polyp von MULLER."),
        ("Mueller", "Polyp von Müller."),
        ("Groß", "Gross war der Polyp."),
        ("van der Berg", "Polyp vom Vanderberg."),
        ("Stein", "Stein's Polyp"),
        ("Öz", "Polyp bei Oez"),
        ("Łukasz", "Polyp bei Lukasz"),
        ("Müller-Lüdenscheidt", "Polyp bei Luedenscheidt"),
    ],
)
def test_a_name_is_found_however_it_is_written(make: Make, family: str, text: str) -> None:
    case = make(language="de")
    case = dataclasses.replace(case, patient=replace(export_example.PATIENT, family=family))
    assert weighed(text, Known.of(case), machine=False) == KNOWN


def test_a_small_part_of_a_name_is_no_name(make: Make) -> None:
    case = make(language="de")
    known = Known.of(dataclasses.replace(case, patient=replace(export_example.PATIENT, family="von Hof")))
    assert weighed("Polyp von 5 mm", known, machine=False) == ""
    assert weighed("Polyp von Hof", known, machine=False) == KNOWN


def test_a_template_may_use_a_patients_name_as_a_word(make: Make) -> None:
    """A machine that knows no name names nobody; whole numbers and dates are looked for all the same."""
    case = make()
    known = Known.of(dataclasses.replace(case, patient=replace(export_example.PATIENT, family="Good")))
    assert weighed("View: good for 13 min 23 s.", known, machine=True) == ""
    assert weighed("View: good for 13 min 23 s.", known, machine=False) == KNOWN
    assert weighed(f"Procedure {case.record.procedure.upper()}.", known, machine=True) == KNOWN
    assert weighed("The procedure started on 2026-03-02 09:30 UTC.", known, machine=True) == DAY


_NAME = st.text(st.characters(categories=["Lu", "Ll"], max_codepoint=0x17F), min_size=3, max_size=12).filter(
    lambda name: len(words(name)) == 1 and len(words(name)[0]) > 2
)


@given(name=_NAME, frame=st.sampled_from(["Polyp of {}.", "{}: polyp", "Polyp ({}s)", "the {} polyp"]))
def test_no_known_name_ever_leaves(name: str, frame: str) -> None:
    names = frozenset(words(name))
    known = Known(names, names, frozenset(), frozenset())
    for written in (name, name.upper(), name.title(), name.lower()):
        assert weighed(frame.format(written), known, machine=False) == KNOWN
