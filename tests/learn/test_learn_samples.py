"""What a signed case teaches, and what it must not."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json

from msgspec.structs import replace

from edge.procedure import Record
from server import edits
from server.config import Draft
from server.learn.case import SignedCase
from server.learn.picture import bare
from server.learn.samples import LeftOut, Sample, sample
from server.report import Drafted
from server.words import template, wording
from server.words.checklist import Lists
from server.words.endpoint import Endpoint
from tests.learn.conftest import SIGNATURE, Make
from tests.support import vlm
from tools import export_example

REWORDED = "A possible polyp in withdrawal was seen from 7 min 46 s to 7 min 57 s."
DATED = "The procedure started on 2026-03-02 09:30 UTC."
MOST = 8


def said(text: str) -> list[str]:
    return [sentence["text"] for sentences in json.loads(text).values() for sentence in sentences]


def told(case: SignedCase, number: str) -> str:
    """What the draft says there."""
    return next(one.text for one in case.draft.sentences if one.id == number)


def taken(case: SignedCase) -> Sample:
    made = sample(case, MOST)
    assert isinstance(made, Sample), made
    return made


def test_a_struck_sentence_is_only_in_what_is_rejected(make: Make) -> None:
    case = make(struck=("S13",))
    made, gone = taken(case), told(case, "S13")
    assert gone in said(made.rejected)
    assert [text for text in said(made.rejected) if text != gone] == said(made.chosen)
    assert made.whole


def test_a_changed_sentence_stands_in_its_place(make: Make) -> None:
    made = taken(make(changed={"S15": REWORDED}))
    assert said(made.chosen).index(REWORDED) == 13  # one was left out: the date
    assert said(made.rejected)[13].startswith("Possible polyp in withdrawal")
    assert len(said(made.chosen)) == len(said(made.rejected))
    assert made.whole


def test_an_unchanged_draft_is_no_pair(make: Make) -> None:
    made = taken(make())
    assert (made.rejected, made.whole) == ("", True)
    assert said(made.chosen) == [one.text for one in make().draft.sentences if one.text != DATED]


def test_neither_question_nor_answer_says_the_day(make: Make) -> None:
    made = taken(make(struck=("S13",)))
    told = json.dumps(made.messages)
    assert "Withdrawal took 8 min 11 s." in told
    assert [text for text in (told, made.chosen, made.rejected) if "2026" in text or "09:30" in text] == []
    assert made.left == {"a date or a time of day": 1}


def test_what_no_fact_supports_is_not_taught(make: Make) -> None:
    texts = ("Removed by cold snare.", "A polyp of 6 mm.", "Adenoma.", "A good day.")
    made = taken(make(added=tuple(("findings", text, ("F3",)) for text in texts)))
    assert [text for text in texts if text in made.chosen] == []
    assert made.left["not what the check lets stand"] == 4
    assert (made.rejected, made.whole) == ("", True)


def test_a_name_that_nobody_knows_stays_wherever_it_stands(make: Make) -> None:
    """The check's words are the only ones that leave: what it lets pass here would be somebody's name."""
    frames = (
        "Possible polyp, {}.",
        "Possible polyp “{}”.",
        "Possible polyp ({}).",
        "Possible {} polyp.",
        "{}: possible polyp.",
    )
    names = ("Miller", "MILLER", "Müller's", "M.", "Ми́ллер", "ミラー", "Mil\u00adler", "Mil ler", "4711", "@miller")
    texts = [frame.format(name) for frame in frames for name in names]
    made = taken(make(added=tuple(("findings", text, ("F3",)) for text in texts)))
    assert said(made.chosen) == said(taken(make()).chosen)
    assert made.left["not what the check lets stand"] == len(texts)


def test_a_sentence_in_whose_place_a_private_one_stands_is_on_neither_side(make: Make) -> None:
    """A person who says of a polyp that it was removed has not said that it was none."""
    case = make(changed={"S13": "Sessile polyp of 6 mm, removed."}, struck=("S14",))
    made = taken(case)
    assert told(case, "S13") not in said(made.chosen) + said(made.rejected)
    assert [text for text in said(made.rejected) if text not in said(made.chosen)] == [told(case, "S14")]
    assert not made.whole


def test_and_when_it_was_added_somewhere_else_neither(make: Make) -> None:
    made = sample(make(struck=("S13",), added=(("summary", "One sessile polyp, removed.", ("F1",)),)), MOST)
    assert made == LeftOut("nothing would be learnt")


def test_a_sentence_that_was_changed_twice_is_followed_to_its_end(make: Make) -> None:
    case = make(changed={"S13": "Flat polyp."})
    draft = replace(case.signed, state="draft", signatures=())
    changed = edits.change(draft, "S27", "Sessile polyp, removed.", None, "E. Test", case.record)
    made = sample(dataclasses.replace(case, signed=edits.sign(changed, SIGNATURE, 1)), MOST)
    assert made == LeftOut("nothing would be learnt")
    struck = edits.sign(edits.strike(draft, "S27", "a fold", "E. Test"), SIGNATURE, 1)
    assert said(taken(dataclasses.replace(case, signed=struck)).rejected).count(told(case, "S13")) == 1


def test_a_fact_that_only_a_private_sentence_speaks_of_makes_no_sample(make: Make) -> None:
    """The pair of another sentence is good."""
    made = taken(make(struck=("S14",), changed={"S11": "Poor preparation in the right colon."}))
    assert not made.whole
    assert "Preparation: adequate" not in made.chosen + made.rejected


def test_what_stays_is_told_to_the_exporter_alone(make: Make) -> None:
    made = taken(make(added=(("findings", "A polyp, as Miller thought.", ("F3",)),)))
    assert any("Miller" in reason or "polyp" in reason.lower() for reason in made.told)
    assert "Miller" not in made.chosen + made.rejected + json.dumps(made.messages) + json.dumps(made.left)


def test_a_draft_teaches_nothing(make: Make) -> None:
    case = make()
    unsigned = dataclasses.replace(case, signed=case.draft, patient=None)
    assert sample(unsigned, MOST) == LeftOut("not signed")
    half = dataclasses.replace(case, signed=replace(case.signed, state="draft"), patient=None)  # one of two signatures
    assert sample(half, MOST) == LeftOut("not signed")


def test_parts_of_different_cases_are_refused(make: Make) -> None:
    case, other = make(), make(number="another")
    for mixed in (
        dataclasses.replace(case, draft=other.draft),
        dataclasses.replace(case, signed=other.signed),
        dataclasses.replace(case, frames={}),
        dataclasses.replace(case, draft=replace(case.draft, language="de")),
    ):
        made = sample(mixed, MOST)
        assert isinstance(made, LeftOut)
        assert (made.why, bool(made.detail)) == ("parts that do not fit together", True)


def test_german_is_learnt_and_finnish_is_not(make: Make) -> None:
    made = taken(make(language="de", struck=("S13",)))
    assert "Möglicher Polyp" in made.rejected
    case = make()
    finnish = replace(case.signed, language="fi")
    made_fi = sample(dataclasses.replace(case, signed=finnish, draft=replace(case.draft, language="fi")), MOST)
    assert made_fi == LeftOut("a language without words", "fi")


def test_a_sentence_that_only_claims_to_be_a_templates_is_looked_at(make: Make) -> None:
    """Its words are the check's; that it is a patient's name is found because nobody believes who said it."""
    case = make()
    case = dataclasses.replace(case, patient=replace(export_example.PATIENT, family="Good"))
    forged = replace(case.signed.sentences[7], id="S90")
    assert "good" in forged.text
    signed = replace(case.signed, sentences=(*case.signed.sentences, forged))
    made = taken(dataclasses.replace(case, signed=signed))
    assert made.left["names or numbers that are known"] == 1
    assert said(made.chosen).count(forged.text) == 1


def test_what_a_model_read_from_a_picture_stays(make: Make) -> None:
    case = make()
    read = replace(case.draft.sentences[0], id="S90", text="The picture says Miller.", by="model", cites=("F1",))
    draft = replace(case.draft, sentences=(*case.draft.sentences, read), drafted=Drafted(by="model", model="some"))
    signed = edits.sign(edits.strike(draft, "S90", "nonsense", "E. Test"), SIGNATURE, 1)
    made = taken(dataclasses.replace(case, draft=draft, signed=signed))
    assert "Miller" not in made.rejected + made.chosen


def test_a_number_in_a_label_keeps_the_whole_case(make: Make) -> None:
    case = make(patient="PAT12345")
    labelled = replace(case.record.findings[0], label="pat-12345")
    record = replace(case.record, findings=(labelled, *case.record.findings[1:]))
    made = sample(dataclasses.replace(case, record=record), MOST)
    assert isinstance(made, Sample | LeftOut)
    everything = json.dumps(made.messages) + made.chosen + made.rejected if isinstance(made, Sample) else ""
    assert "12345" not in everything


def test_it_asks_what_an_endpoint_is_asked_and_answers_in_its_form(make: Make, lists: Lists) -> None:
    """The real request, as it goes over a socket; and what is to be learnt, as an answer to it, stands."""
    case = make()
    undated = replace(case.record, heading=replace(case.record.heading, clock_trusted=False))
    draft = template.draft(undated, "en", lists)
    signed = edits.sign(edits.strike(draft, "S13", "a fold", "E. Test"), SIGNATURE, 1)
    made = taken(dataclasses.replace(case, record=undated, draft=draft, signed=signed))
    with vlm.serving(lambda asked: vlm.completion(made.rejected)) as server:
        endpoint = Endpoint(Draft(url=server.url, model="some", frames_most=MOST))
        report = wording.word(undated, draft, case.frames.get, endpoint, lists)
        (asked,) = server.asked
    assert (report.drafted.by, report.drafted.struck, report.drafted.fallback) == ("model", 0, "")
    assert asked["messages"][0]["content"] == made.messages[0]["content"][0]["text"]
    ours, theirs = made.messages[1]["content"], asked["messages"][1]["content"]
    assert [part["type"] for part in ours] == [part["type"].removesuffix("_url") for part in theirs]
    assert [one for one in ours if one["type"] == "text"] == [one for one in theirs if one["type"] == "text"]
    shown = [base64.b64decode(one["image_url"]["url"].partition(",")[2]) for one in theirs if one["type"] != "text"]
    assert list(made.pictures) == [bare(one) for one in shown]
    assert list(json.loads(made.chosen)) == asked["response_format"]["json_schema"]["schema"]["required"]


def test_pictures_are_where_their_names_are(make: Make, example: tuple[Record, dict[str, bytes]]) -> None:
    made = taken(make())
    parts = made.messages[1]["content"]
    names = [before["text"] for before, part in itertools.pairwise(parts) if part["type"] == "image"]
    best = sorted(example[0].findings, key=lambda one: -one.best_score)
    assert names == [*(one.id for one in best), "L1"]
    of = {one.id: one.key_frame for one in (*example[0].findings, *example[0].landmarks)}
    kept = [of[name] for name in names]
    assert list(made.pictures) == [bare(example[1][frame.sha256]) for frame in kept if frame is not None]
    few = sample(make(), 2)
    assert isinstance(few, Sample)
    assert few.pictures == made.pictures[:2]


def test_the_id_leads_back_to_nobody(make: Make) -> None:
    """Two procedures that differ in nothing but who, where and when give the same sample."""
    one, other = taken(make()), taken(make(number="another", patient="77"))
    assert one.id == other.id
    assert one.group != other.group
