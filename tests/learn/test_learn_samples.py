"""What a signed case teaches, and what it must not."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import pytest
from msgspec.structs import replace

from edge.procedure import Record
from server import edits
from server.learn import form
from server.learn.case import SignedCase
from server.learn.samples import LeftOut, Sample, sample
from server.learn.vocabulary import Vocabulary
from server.report import Drafted
from tests.learn.conftest import Make
from tools import export_example

REWORDED = "A flat polyp was seen from 7 min 46 s to 7 min 57 s."


def said(text: str) -> list[str]:
    return [sentence["text"] for sentences in json.loads(text).values() for sentence in sentences]


def taken(case: SignedCase, vocabulary: Vocabulary | None) -> Sample:
    made = sample(case, vocabulary)
    assert isinstance(made, Sample), made
    return made


def test_a_struck_sentence_is_only_in_what_is_rejected(make: Make, english: Vocabulary) -> None:
    made = taken(make(struck=("S6",)), english)
    gone = "A possible polyp was seen from 1 min 46 s to 1 min 57 s."
    assert gone in said(made.rejected)
    assert [text for text in said(made.rejected) if text != gone] == said(made.chosen)
    assert made.left == {}


def test_a_changed_sentence_stands_in_its_place(make: Make, english: Vocabulary) -> None:
    made = taken(make(changed={"S8": REWORDED}), english)
    assert said(made.chosen).index(REWORDED) == said(made.rejected).index(
        "A possible polyp was seen from 7 min 46 s to 7 min 57 s."
    )


def test_an_unchanged_draft_is_no_pair(make: Make, english: Vocabulary) -> None:
    made = taken(make(), english)
    assert made.rejected == ""
    assert said(made.chosen) == [one.text for one in export_example.draft().sentences]


def test_what_no_fact_supports_is_not_taught(make: Make, english: Vocabulary) -> None:
    made = taken(make(added=(("summary", "A good day.", ()), ("findings", REWORDED, ("F3",)))), english)
    assert "A good day." not in said(made.chosen)
    assert REWORDED in said(made.chosen)
    assert sum(made.left.values()) == 1


@pytest.mark.parametrize(
    ("changed", "added", "why"),
    [
        ({"S8": "Polyp, as Dr. Miller saw from 7 min 46 s to 7 min 57 s."}, (), "something said of a fact"),
        ({"S2": "Insertion by Oberhuber took 6 min 41 s."}, (), "something said of a fact"),  # T1 is cited elsewhere
    ],
)
def test_a_case_that_would_teach_silence_stays(
    make: Make, english: Vocabulary, changed: Any, added: Any, why: str
) -> None:
    made = sample(make(changed=changed, added=added), english)
    assert isinstance(made, LeftOut)
    assert made.why.startswith(why)


def test_words_that_are_not_listed_are_told_to_the_exporter_alone(make: Make, english: Vocabulary) -> None:
    made = taken(make(added=(("findings", "A flat polyp, as Miller thought.", ("F3",)),)), english)
    assert made.unknown == ("Miller",)
    assert made.left == {"a word": 1}
    assert "Miller" not in made.chosen + made.rejected + json.dumps(made.messages)


def test_a_draft_teaches_nothing(make: Make, english: Vocabulary) -> None:
    case = make()
    unsigned = dataclasses.replace(case, signed=case.draft, patient=None)
    assert sample(unsigned, english) == LeftOut("not signed")
    half = dataclasses.replace(case, signed=replace(case.signed, state="draft"), patient=None)  # one of two signatures
    assert sample(half, english) == LeftOut("not signed")


def test_parts_of_different_cases_are_refused(make: Make, english: Vocabulary) -> None:
    case, other = make(), make(number="another")
    for mixed in (
        dataclasses.replace(case, draft=other.draft),
        dataclasses.replace(case, signed=other.signed),
        dataclasses.replace(case, frames={}),
        dataclasses.replace(case, draft=replace(case.draft, language="de")),
    ):
        made = sample(mixed, english)
        assert isinstance(made, LeftOut)
        assert (made.why, bool(made.detail)) == ("parts that do not fit together", True)


def test_a_sentence_that_only_claims_to_be_a_templates_is_looked_at(make: Make, english: Vocabulary) -> None:
    case = make()
    forged = [replace(one, text="Seen by Miller.") if one.id == "S8" else one for one in case.signed.sentences]
    made = sample(dataclasses.replace(case, signed=replace(case.signed, sentences=tuple(forged))), english)
    assert isinstance(made, LeftOut)
    assert made.unknown == ("Miller",)


def test_what_a_model_read_from_a_picture_stays(make: Make, english: Vocabulary) -> None:
    case = make()
    read = replace(case.draft.sentences[0], id="S90", text="The picture says Miller.", by="model", cites=("F1",))
    draft = replace(case.draft, sentences=(*case.draft.sentences, read), drafted=Drafted(by="model", model="some"))
    signed = edits.sign(edits.strike(draft, "S90", "nonsense", "E. Test"), case.signed.signatures[0], 1)
    made = taken(dataclasses.replace(case, draft=draft, signed=signed), english)
    assert "Miller" not in made.rejected + made.chosen
    assert made.left == {"a word": 1}


def test_the_record_that_is_asked_about_says_neither_when_nor_where(example: tuple[Record, Any]) -> None:
    record = example[0]
    asked = json.dumps(form.asked(form.nameless(record), "en").messages)
    for secret in (record.procedure, record.heading.device, record.heading.started_at, "2026", record.heading.boot):
        assert secret not in asked


def test_a_number_in_a_label_keeps_the_whole_case(make: Make, english: Vocabulary) -> None:
    case = make(patient="PAT12345")
    record = replace(
        case.record, findings=(replace(case.record.findings[0], label="pat-12345"), *case.record.findings[1:])
    )
    assert sample(dataclasses.replace(case, record=record), english) == LeftOut("names or numbers that are known")


def test_pictures_are_in_the_order_in_which_they_are_asked(make: Make, english: Vocabulary) -> None:
    case = make()
    made = taken(case, english)
    places = [part for message in made.messages for part in message["content"] if part["type"] == "image"]
    assert len(places) == len(made.pictures) == len(case.frames)
    assert {hashlib.sha256(one).hexdigest() for one in made.pictures} != set()


def test_the_id_leads_back_to_nobody(make: Make, english: Vocabulary) -> None:
    """Two procedures that differ in nothing but who, where and when give the same sample."""
    one, other = taken(make(), english), taken(make(number="another", patient="77"), english)
    assert one.id == other.id
    assert one.group != other.group
