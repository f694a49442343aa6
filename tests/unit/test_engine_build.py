"""A build in a process of its own, and the change-over to what it made."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest

from edge.errors import InferenceError
from edge.infer.engine_build import Begun, Building, Done, Failed, Happening, Renewing, Serving, Step, line
from edge.types import Copies, TensorSpec
from tests.support.waiting import WITHIN_S, wait_for

WHY = "another power mode"
STEP, DONE = Step(phase="tactics", done=1, total=2), Done(engine="int8_trt", seconds=12.5)


def program(*lines: str) -> list[str]:
    return [sys.executable, "-c", "\n".join(["import sys, time", *lines])]


def says(*happenings: Happening) -> list[str]:
    return program(*(f"print({line(happening)!r}, flush=True)" for happening in happenings))


def told_by(source: Building | Renewing, last: type | tuple[type, ...] = (Done, Failed)) -> list[object]:
    """Everything, up to its last word."""
    found: list[object] = []
    wait_for(
        lambda: found.extend(source.poll()) is None and any(isinstance(each, last) for each in found), "a last word"
    )
    return found


def test_steps_come_as_values_and_the_last_word_last() -> None:
    with closing(Building(says(STEP, DONE))) as building:
        assert told_by(building) == [STEP, DONE]


def test_a_library_s_chatter_on_the_same_pipe_is_no_step() -> None:
    chatter = program("print('[TRT] [I] hello')", 'print(\'{"type": "else"}\')', f"print({line(DONE)!r})")
    with closing(Building(chatter)) as building:
        assert told_by(building) == [DONE]


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (["sys.exit('no GPU here')"], "the build ended with status 1: no GPU here"),
        (["import os", "os.kill(os.getpid(), 9)"], "the build ended with status -9: it said nothing"),
    ],
)
def test_a_build_that_dies_without_a_word_is_said_to_have_failed(ending: list[str], reason: str) -> None:
    with closing(Building(program(*ending))) as building:
        assert told_by(building) == [Failed(reason=reason)]


def test_a_build_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InferenceError, match="an engine's build cannot be started"):
        Building(says(DONE))


def test_closing_stops_a_build_that_does_not_want_to() -> None:
    stubborn = program(
        f"import signal; signal.signal(signal.{signal.SIGTERM.name}, lambda *_: None)",
        f"print({line(STEP)!r}, flush=True)",
        "time.sleep(600)",
    )
    building = Building(stubborn)
    wait_for(lambda: building.poll() == [STEP], "a step")
    begun = time.monotonic()
    building.close()
    building.close()
    assert time.monotonic() - begun < WITHIN_S


class Counting:
    """A backend that answers with its own name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.input = TensorSpec(name="image", dtype="uint8", shape=(1, 8, 8, 4))
        self.outputs = (TensorSpec(name="polyp", dtype="float32", shape=(1, 1)),)
        self.copies = Copies()
        self.closed = 0

    def infer(self, image: Any) -> Mapping[str, Any]:
        assert not self.closed
        self.copies += Copies(host=1, h2d=2, device=3)
        return {"by": self.name}

    def close(self) -> None:
        self.closed += 1


def test_the_old_engine_serves_until_the_new_one_is_open() -> None:
    old, new, may_open = Counting("old"), Counting("new"), threading.Event()
    told: list[object] = []

    def reopen() -> Counting:
        assert may_open.wait(WITHIN_S)
        return new

    renewing = Renewing(old, lambda: Building(says(STEP, DONE)), reopen, WHY)
    served: list[str] = []

    def serve() -> str:
        told.extend(renewing.poll())
        served.append(renewing.infer(None)["by"])
        return served[-1]

    wait_for(lambda: serve() == "old" and told == [Begun(reason=WHY), STEP, DONE], "the build")
    for _ in range(5):
        assert serve() == "old"  # built, but not open yet
    may_open.set()
    wait_for(lambda: serve() == "new", "the new engine")
    assert told[3:] == [Serving(engine=DONE.engine)]
    assert (old.closed, new.closed) == (1, 0)
    assert renewing.copies == Copies(host=len(served), h2d=2 * len(served), device=3 * len(served))  # of both
    renewing.close()
    assert (old.closed, new.closed) == (1, 1)


def test_a_failed_build_leaves_the_old_engine_and_is_told() -> None:
    old, failed = Counting("old"), Failed(reason="out of memory")
    renewing = Renewing(old, lambda: Building(says(failed)), lambda: pytest.fail("opened"), WHY)
    assert told_by(renewing) == [Begun(reason=WHY), failed]
    assert renewing.infer(None)["by"] == "old"
    renewing.close()
    assert old.closed == 1


def test_a_new_engine_that_does_not_open_is_not_used_and_told() -> None:
    old = Counting("old")

    def reopen() -> Counting:
        raise InferenceError("cuMemAlloc: out of memory")

    renewing = Renewing(old, lambda: Building(says(DONE)), reopen, WHY)
    failed = Failed(reason="the new engine is not used: cuMemAlloc: out of memory")
    assert told_by(renewing, Failed) == [Begun(reason=WHY), DONE, failed]
    assert renewing.infer(None)["by"] == "old"
    renewing.close()


def test_a_build_that_cannot_start_leaves_the_old_engine_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    renewing = Renewing(Counting("old"), lambda: Building(says(DONE)), lambda: pytest.fail("opened"), WHY)
    begun, failed = renewing.poll()
    assert begun == Begun(reason=WHY)
    assert isinstance(failed, Failed)
    assert "an engine's build cannot be started" in failed.reason
    assert renewing.poll() == []
    assert renewing.infer(None)["by"] == "old"
    renewing.close()


def test_closing_while_the_new_one_opens_closes_both() -> None:
    old, new, opening, may_open = Counting("old"), Counting("new"), threading.Event(), threading.Event()

    def reopen() -> Counting:
        opening.set()
        assert may_open.wait(WITHIN_S)
        return new

    renewing = Renewing(old, lambda: Building(says(DONE)), reopen, WHY)
    wait_for(lambda: renewing.poll() is not None and opening.is_set(), "the opening")
    may_open.set()
    renewing.close()
    assert (old.closed, new.closed) == (1, 1)
