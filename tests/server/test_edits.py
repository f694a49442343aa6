from __future__ import annotations

import pytest
from msgspec.structs import replace

from server import edits
from server.errors import RefusedError
from server.report import Signature
from tools import export_example

RECORD, _ = export_example.example()
DRAFT = export_example.draft()
ADA = Signature(account="ada", name="Dr. Ada", at="2026-01-01T00:00:00Z")
BEN = Signature(account="ben", name="Dr. Ben", at="2026-01-01T00:01:00Z")


def test_a_changed_sentence_is_struck_out_and_a_persons_stands_in_its_place() -> None:
    changed = edits.change(DRAFT, "S5", "The caecum was seen and photographed.", None, "Dr. Ada", RECORD)
    at = [one.id for one in changed.sentences].index("S5")
    old, new = changed.sentences[at : at + 2]
    assert (old.struck, old.struck_by, old.text) == ("replaced", "Dr. Ada", DRAFT.sentences[4].text)
    assert (new.id, new.by, new.author, new.cites, new.section) == ("S10", "person", "Dr. Ada", ("L1",), "landmarks")


def test_the_same_words_are_no_change() -> None:
    assert edits.change(DRAFT, "S5", DRAFT.sentences[4].text, None, "Dr. Ada", RECORD) is DRAFT


def test_what_a_person_struck_stands_again_and_what_the_check_struck_does_not() -> None:
    struck = edits.strike(DRAFT, "S6", "a fold", "Dr. Ada")
    assert [one.id for one in struck.sentences if one.struck] == ["S6"]
    assert edits.restore(struck, "S6") == DRAFT
    checked = replace(DRAFT, sentences=(replace(DRAFT.sentences[0], struck="a size"), *DRAFT.sentences[1:]))
    with pytest.raises(RefusedError, match="say it yourself"):
        edits.restore(checked, "S1")


def test_numbers_are_never_used_again() -> None:
    one = edits.add(DRAFT, "summary", "First.", (), "Dr. Ada", RECORD)
    two = edits.add(edits.strike(one, "S10", "", "Dr. Ada"), "summary", "Second.", (), "Dr. Ada", RECORD)
    assert two.sentences[-1].id == "S11"


def test_two_people_have_to_sign_where_two_are_needed() -> None:
    once = edits.sign(DRAFT, ADA, 2)
    assert once.state == "draft"
    with pytest.raises(RefusedError, match="another person"):
        edits.sign(once, ADA, 2)
    assert edits.sign(once, BEN, 2).state == "final"


def test_a_change_takes_back_the_first_signature() -> None:
    assert edits.add(edits.sign(DRAFT, ADA, 2), "summary", "More.", (), "Dr. Ben", RECORD).signatures == ()


def test_a_signed_report_is_only_added_to() -> None:
    signed = edits.sign(DRAFT, ADA, 1)
    with pytest.raises(RefusedError, match="only added to"):
        edits.strike(signed, "S1", "", "Dr. Ben")
    with pytest.raises(RefusedError, match="only added to"):
        edits.sign(signed, BEN, 1)
    amended = edits.amend(signed, [("summary", "Histology: adenoma.", ("F2",))], BEN, RECORD)
    assert (amended.state, amended.signatures, amended.sentences[:-1]) == ("amended", (ADA, BEN), signed.sentences)
    with pytest.raises(RefusedError, match="without a sentence"):
        edits.amend(signed, [], BEN, RECORD)
    with pytest.raises(RefusedError, match="not signed yet"):
        edits.amend(DRAFT, [("summary", "x", ())], BEN, RECORD)


@pytest.mark.parametrize(
    ("text", "cites", "said"),
    [
        ("", (), "length >= 1"),
        ("x" * 601, (), "length <= 600"),
        ("x", ("F9",), "has no F9"),
        ("\n\t", (), "length >= 1"),
    ],
)
def test_a_sentence_that_cannot_be_is_refused(text: str, cites: tuple[str, ...], said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        edits.add(DRAFT, "summary", text, cites, "Dr. Ada", RECORD)


def test_control_signs_are_taken_out() -> None:
    added = edits.add(DRAFT, "summary", "a\x00b\r\n c\x7f", (), "Dr. Ada", RECORD)
    assert added.sentences[-1].text == "a b c"


def test_a_sentence_that_is_not_there() -> None:
    with pytest.raises(RefusedError, match="S99: no such sentence"):
        edits.strike(DRAFT, "S99", "", "Dr. Ada")
