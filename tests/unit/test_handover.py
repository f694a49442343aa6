"""One record's way to the report server, as a pure machine: whatever breaks off, it ends with all of it there once."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.uplink.handover import TRIES_MOST, Answer, Aside, Later, Named, Post, Put, Sent, Upload, without_lost
from tests.support.procedures import jpeg, record

RUN = Named("box-1", "run-1", 1)
STRANGER = "but not as a report server does: correct uplink.reports.url"


def test_the_server_says_what_it_misses() -> None:
    upload = Upload(RUN, ["a", "b", "c"])
    assert upload.next == Post()
    upload.answered(Answer(409, "send these", ("b", "c")))
    assert upload.next == Put("b")
    upload.answered(Answer(201, taken="b"))
    assert upload.next == Put("c")
    upload.answered(Answer(200, taken="c"))
    assert upload.next == Post()
    upload.answered(Answer(201, taken=Named("box-1", "run-1", 1)))
    assert upload.next == Sent()


@pytest.mark.parametrize("status", [200, 201, 202, 204])
@pytest.mark.parametrize(
    "taken", [None, "b", Named("box-2", "run-1", 1), Named("box-1", "run-2", 1), Named("box-1", "run-1", 2)]
)
def test_a_success_that_does_not_name_what_was_sent_is_none(status: int, taken: str | Named | None) -> None:
    upload = Upload(RUN, ["a"])
    upload.answered(Answer(status, taken=taken))
    assert upload.next == Later(f"answers {status}, {STRANGER}", permanent=True)
    upload = Upload(RUN, ["a"])
    upload.answered(Answer(409, "", ("a",)))
    upload.answered(Answer(status, taken=taken))
    assert upload.next == Later(f"answers {status}, {STRANGER}", permanent=True)


def test_a_proxy_that_forbids_puts_no_record_aside() -> None:
    upload = Upload(RUN, [])
    upload.answered(Answer(403))
    assert upload.next == Later(f"answers 403, {STRANGER}", permanent=True)
    upload = Upload(RUN, [])
    upload.answered(Answer(413))  # this one is too large, whoever says it
    assert upload.next == Aside("answers 413: Request Entity Too Large")


@pytest.mark.parametrize("status", [400, 403, 409, 413, 422])
def test_what_is_wrong_with_a_record_puts_it_aside(status: int) -> None:
    upload = Upload(RUN, ["a"])
    upload.answered(Answer(status, "expected another"))
    assert upload.next == Aside(f"answers {status}: expected another")
    upload = Upload(RUN, ["a"])
    upload.answered(Answer(409, "", ("a",)))
    upload.answered(Answer(status, "no JPEG"))
    assert upload.next == Aside(f"answers {status}: no JPEG")


@pytest.mark.parametrize(
    ("status", "permanent"), [(401, True), (404, True), (500, False), (503, False), (507, False), (429, False)]
)
def test_what_is_wrong_with_us_or_the_server_is_waited_for(status: int, permanent: bool) -> None:
    upload = Upload(RUN, ["a"])
    upload.answered(Answer(status, "why"))
    assert upload.next == Later(f"answers {status}: why", permanent)


def test_a_server_that_makes_no_sense_is_no_endless_loop() -> None:
    upload = Upload(RUN, ["a"])
    upload.answered(Answer(409, "", ("elsewhere",)))
    assert upload.next == Later("it misses key frames that this record does not have: elsewhere", permanent=True)
    upload, puts = Upload(RUN, ["a"]), 0
    while not isinstance(upload.next, Later):
        puts += isinstance(upload.next, Put)
        upload.answered(Answer(409, "", ("a", "a")) if upload.next == Post() else Answer(201, taken="a"))
    assert puts == TRIES_MOST


def test_a_lost_picture_does_not_cost_the_record() -> None:
    pictures = [jpeg(1), jpeg(2), jpeg(3)]
    whole = record("p", pictures)
    gone = whole.findings[0].key_frame
    kept = without_lost(whole, lambda frame: frame != gone)
    assert [frame.sha256 for frame in kept.key_frames()] == [
        frame.sha256 for frame in whole.key_frames() if frame != gone
    ]
    assert kept.not_recorded == {"key frame of F1": "it was damaged on the box's disk, or removed"}
    assert without_lost(whole, lambda frame: True) == whole
    assert msgspec.json.decode(msgspec.json.encode(kept), type=type(kept)) == kept


class Server:
    """As the contract has it, in memory."""

    def __init__(self) -> None:
        self.frames: set[str] = set()
        self.records = 0
        self.puts = 0

    def answer(self, step: Post | Put, wanted: list[str]) -> Answer:
        if isinstance(step, Put):
            there = step.sha256 in self.frames
            self.frames.add(step.sha256)
            self.puts += 1
            return Answer(200 if there else 201, taken=step.sha256)
        if missing := tuple(one for one in wanted if one not in self.frames):
            return Answer(409, "", missing)
        self.records += not self.records
        return Answer(200 if self.records else 201, taken=RUN)


@given(
    wanted=st.lists(st.sampled_from("abcdefgh"), max_size=8),
    mishaps=st.lists(st.sampled_from(["fine", "lost before", "lost after", "500", "401"]), max_size=30),
)
def test_whatever_breaks_off_it_ends_with_all_there_and_nothing_sent_twice(
    wanted: list[str], mishaps: list[str]
) -> None:
    """Each mishap ends an attempt: the next begins anew and knows nothing of the last."""
    server, upload = Server(), Upload(RUN, wanted)
    fate = iter(mishaps)
    while not isinstance(upload.next, Sent):
        if not isinstance(upload.next, Post | Put):
            assert isinstance(upload.next, Later)
            upload = Upload(RUN, wanted)
        assert isinstance(upload.next, Post | Put)
        what = next(fate, "fine")
        if what != "lost before":
            answer = server.answer(upload.next, wanted)
        if what in ("500", "401"):
            upload.answered(Answer(int(what)))
        elif what == "fine":
            upload.answered(answer)
        else:
            upload = Upload(RUN, wanted)
    assert server.frames == set(wanted)
    assert server.records == 1
    assert server.puts == len(set(wanted))  # none twice: a new attempt asks what is missing
