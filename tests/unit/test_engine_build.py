"""A build in a process of its own, and the change-over to what it made."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from edge.errors import InferenceError
from edge.infer.engine_build import Building, Done, Failed, Happening, Renewing, Step, line
from edge.types import Copies, TensorSpec

WITHIN_S = 60.0
STEP, DONE = Step(phase="tactics", done=1, total=2), Done(engine="int8_trt", seconds=12.5)


def program(*lines: str) -> list[str]:
    return [sys.executable, "-c", "\n".join(["import sys, time", *lines])]


def says(*happenings: Happening) -> list[str]:
    return program(*(f"print({line(happening)!r}, flush=True)" for happening in happenings))


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def told_by(building: Building) -> list[Happening]:
    """Everything, up to its last word."""
    found: list[Happening] = []
    until(lambda: found.extend(building.poll()) is None and any(not isinstance(each, Step) for each in found))
    building.close()
    return found


def test_steps_come_as_values_and_the_last_word_last() -> None:
    assert told_by(Building(says(STEP, DONE))) == [STEP, DONE]


def test_a_library_s_chatter_on_the_same_pipe_is_no_step() -> None:
    chatter = program("print('[TRT] [I] hello')", 'print(\'{"type": "else"}\')', f"print({line(DONE)!r})")
    assert told_by(Building(chatter)) == [DONE]


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (["sys.exit('no GPU here')"], "the build ended with status 1: no GPU here"),
        (["import os", "os.kill(os.getpid(), 9)"], "the build ended with status -9: it said nothing"),
    ],
)
def test_a_build_that_dies_without_a_word_is_said_to_have_failed(ending: list[str], reason: str) -> None:
    assert told_by(Building(program(*ending))) == [Failed(reason=reason)]


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
    until(lambda: building.poll() == [STEP])
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
    told: list[Happening] = []

    def reopen() -> Counting:
        assert may_open.wait(WITHIN_S)
        return new

    renewing = Renewing(old, Building(says(STEP, DONE)), reopen, told.append)
    served: list[str] = []

    def serve() -> str:
        served.append(renewing.infer(None)["by"])
        return served[-1]

    until(lambda: serve() == "old" and told == [STEP, DONE])
    for _ in range(5):
        assert serve() == "old"  # built, but not open yet
    may_open.set()
    until(lambda: serve() == "new")
    assert (old.closed, new.closed) == (1, 0)
    assert renewing.copies == Copies(host=len(served), h2d=2 * len(served), device=3 * len(served))  # of both
    renewing.close()
    assert (old.closed, new.closed) == (1, 1)


def test_a_failed_build_leaves_the_old_engine_and_is_told() -> None:
    old, told = Counting("old"), list[Happening]()
    renewing = Renewing(old, Building(says(Failed(reason="out of memory"))), lambda: pytest.fail("opened"), told.append)
    until(lambda: renewing.infer(None)["by"] == "old" and bool(told))
    assert told == [Failed(reason="out of memory")]
    assert renewing.infer(None)["by"] == "old"
    renewing.close()
    assert old.closed == 1


def test_a_new_engine_that_does_not_open_is_not_used_and_told() -> None:
    old, told = Counting("old"), list[Happening]()

    def reopen() -> Counting:
        raise InferenceError("cuMemAlloc: out of memory")

    renewing = Renewing(old, Building(says(DONE)), reopen, told.append)
    until(lambda: renewing.infer(None)["by"] == "old" and len(told) == 2)
    assert told[1] == Failed(reason="the new engine is not used: cuMemAlloc: out of memory")
    renewing.close()


def test_closing_while_the_new_one_opens_closes_both() -> None:
    old, new, told, opening, may_open = Counting("old"), Counting("new"), [], threading.Event(), threading.Event()

    def reopen() -> Counting:
        opening.set()
        assert may_open.wait(WITHIN_S)
        return new

    renewing = Renewing(old, Building(says(DONE)), reopen, told.append)
    until(lambda: bool(renewing.infer(None)) and opening.is_set())
    may_open.set()
    renewing.close()
    assert (old.closed, new.closed) == (1, 1)
