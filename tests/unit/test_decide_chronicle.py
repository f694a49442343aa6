"""The record of a procedure, told from streams: times that add up, findings with their phase, what was not recorded."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.decide.config import ProcedureConfig, ToolConfig
from edge.decide.ladder import Ladder, Load
from edge.decide.rules import Rules
from edge.procedure import Heading, Made, Record
from edge.types import SignalState, View
from tests.unit.decide_story import CONFIG, Story, classes, detection

CAECUM = classes(landmark=("caecum", 0.95))
TOOL = classes(tool=("present", 0.9))
TURNING = msgspec.structs.replace(CONFIG, procedure=ProcedureConfig(start_s=0.4, stop_s=3.0, turn="caecum"))
WITH_TOOL = msgspec.structs.replace(
    TURNING, procedure=msgspec.structs.replace(TURNING.procedure, tool=ToolConfig(head="tool", label="present"))
)
HEADING = Heading(
    device="box-1",
    boot="b",
    started_at="2026-01-01T00:00:00Z",
    clock_trusted=False,
    started_ns=5,
    made_by=Made(
        software="1", model="m", model_version="1", model_sha256="", precision="int8", pipeline="p", pipeline_sha256=""
    ),
)


def told(story: Story, config: Any = TURNING) -> Record:
    rules = Rules(config, "run")
    for item in story.items:
        rules.step(item)
    rules.finish(story.items[-1].captured_ns, story.items[-1].media_ns)
    assert rules.chronicle.ended
    return rules.chronicle.record(HEADING, "ended")


def test_a_whole_procedure() -> None:
    story = Story().frames(1, view=View.OUT_OF_BODY).frames(4).frames(1, detection()).frames(2).frames(1, *CAECUM)
    story.frames(3).frames(2, view=View.POOR, reason="blur").frames(1, detection(size=60)).frames(3)
    record = told(story.frames(5, view=View.OUT_OF_BODY))
    assert (record.procedure, record.state, record.revision) == ("run-1", "ended", 1)
    assert record.times.duration_s == pytest.approx(17, abs=0.1)
    assert record.times.insertion_s == pytest.approx(7, abs=0.1)
    assert record.times.withdrawal_s == pytest.approx(10, abs=0.1)
    assert record.times.withdrawal_poor_s == pytest.approx(2, abs=0.1)
    assert record.times.withdrawal_tool_s is None
    assert record.times.view_s == {"good": pytest.approx(15, abs=0.1), "poor: blur": pytest.approx(2, abs=0.1)}
    assert [(one.id, one.phase) for one in record.findings] == [("F1", "insertion"), ("F2", "withdrawal")]
    assert record.findings[0].alerted
    assert [(one.id, one.kind) for one in record.landmarks] == [("L1", "caecum")]
    assert record.landmarks[0].first_seen_s == record.times.insertion_s
    assert record.ids() == {"T1", "F1", "F2", "L1", "J1"}
    assert set(record.not_recorded) == {"size", "histology", "site", "treatment", "instruments"}


def test_where_the_turn_was_not_seen_no_finding_has_a_phase() -> None:
    """It may have been on the way back: nobody knows."""
    story = Story().frames(1, view=View.OUT_OF_BODY).frames(4).frames(1, detection()).frames(2)
    record = told(story.frames(5, view=View.OUT_OF_BODY))
    assert [(one.id, one.phase) for one in record.findings] == [("F1", "")]
    assert record.times.insertion_s is None
    assert record.not_recorded["withdrawal"] == "the caecum was not seen"


def test_what_was_never_reached_is_said() -> None:
    record = told(Story().frames(5).frames(5, view=View.OUT_OF_BODY))
    assert record.times.withdrawal_s is None
    assert record.not_recorded["withdrawal"] == "the caecum was not seen"
    record = told(Story().frames(5).frames(5, view=View.OUT_OF_BODY), CONFIG)
    assert "names no landmark" in record.not_recorded["withdrawal"]


def test_an_instrument_in_view_is_no_time_of_looking() -> None:
    story = Story().frames(2).frames(1, *CAECUM).frames(2)
    story.frames(2, *TOOL).frames(1, *TOOL, view=View.POOR, reason="obscured")
    story.frames(1, view=View.POOR, reason="obscured").frames(2).frames(5, view=View.OUT_OF_BODY)
    times = told(story, WITH_TOOL).times
    assert times.withdrawal_tool_s == pytest.approx(3, abs=0.1)
    assert times.withdrawal_poor_s == pytest.approx(1, abs=0.15)


def test_a_lost_picture_is_an_interruption_while_the_procedure_lasts() -> None:
    record = told(Story().frames(3).gaps(2).frames(3).gaps(5))
    assert [(one.id, one.state) for one in record.interruptions] == [("I1", SignalState.NO_SIGNAL.value)]
    assert record.interruptions[0].from_s == pytest.approx(3, abs=0.1)
    assert record.interruptions[0].to_s == pytest.approx(5, abs=0.1)
    assert record.times.duration_s == pytest.approx(8, abs=0.1)


def test_what_a_hot_box_did_not_look_for_is_said() -> None:
    story, ladder = Story().frames(30).frames(5, view=View.OUT_OF_BODY), Ladder()
    rules = Rules(TURNING, "run", ladder)
    for item in story.items:
        hot = 5e9 <= item.media_ns < 12e9  # "sparse" at 8 s, "regions" at 11 s; back by two rungs of 15 s each
        ladder.load = Load(zone="gpu", room_c=8.0 if hot else 40.0)
        rules.step(item)
    record = rules.chronicle.record(HEADING, "ended")
    assert record.times.effort_s == {
        "full": pytest.approx(8, abs=0.1),
        "sparse": pytest.approx(3 + 3, abs=0.2),
        "regions": pytest.approx(16, abs=0.2),
    }
    assert record.not_recorded["landmarks"] == "for 16 s the box spared its board and did not look for them"
    record = told(Story().frames(5).frames(5, view=View.OUT_OF_BODY))
    assert record.times.effort_s == {"full": pytest.approx(5, abs=0.1)}
    assert "landmarks" not in record.not_recorded


def test_a_procedure_that_goes_on_has_a_record_too() -> None:
    rules = Rules(TURNING, "run")
    for item in Story().frames(3).frames(1, detection()).frames(2).gaps(1).items:
        rules.step(item)
    assert not rules.chronicle.ended
    record = rules.chronicle.record(HEADING, "running")
    assert record.times.duration_s == pytest.approx(7, abs=0.1)
    assert [one.id for one in record.findings] == ["F1"]
    assert record.interruptions[0].to_s == record.times.duration_s
    assert msgspec.json.decode(msgspec.json.encode(record), type=Record) == record


def test_the_next_procedure_begins_with_an_empty_page() -> None:
    story = Story().frames(2).frames(1, detection()).frames(2).frames(5, view=View.OUT_OF_BODY)
    record = told(story.frames(3).frames(5, view=View.OUT_OF_BODY))
    assert record.procedure == "run-2"
    assert record.findings == ()
    assert record.times.duration_s == pytest.approx(3, abs=0.1)


@given(
    st.lists(
        st.tuples(st.sampled_from(["good", "poor", "out", "polyp", "caecum", "lost", "tool"]), st.integers(1, 60)),
        min_size=1,
        max_size=12,
    )
)
def test_times_add_up(parts: list[tuple[str, int]]) -> None:
    story = Story()
    for what, ticks in parts:
        for _ in range(ticks):
            if what == "lost":
                story.gaps(0.04)
            else:
                found = {"polyp": (detection(),), "caecum": CAECUM, "tool": TOOL}.get(what, ())
                view = {"poor": View.POOR, "out": View.OUT_OF_BODY}.get(what, View.GOOD)
                story.frame(*found, view=view)
    rules = Rules(WITH_TOOL, "run")
    for item in story.items:
        rules.step(item)
        record = rules.chronicle.record(HEADING, "running")
        times = record.times
        assert sum(times.view_s.values()) == pytest.approx(times.duration_s, abs=0.002 * (1 + len(times.view_s)))
        assert all(0 <= one.from_s < one.to_s <= times.duration_s for one in record.interruptions)
        if times.withdrawal_s is not None and times.insertion_s is not None:
            assert times.insertion_s + times.withdrawal_s == pytest.approx(times.duration_s, abs=0.003)
            assert (times.withdrawal_tool_s or 0) + (times.withdrawal_poor_s or 0) <= times.withdrawal_s + 0.003
