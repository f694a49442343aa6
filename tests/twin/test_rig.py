"""The rig's own judgement, without a machine: who gets which result, what counts as inference while not live."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge.errors import UsageError
from edge.messages import SignalChanged
from edge.types import SignalState
from tools.twin import checkout, image, report, scenarios, session, words
from tools.twin.guest.watch import looked_at_while_not_live, not_live
from tools.twin.scenarios import Scenario
from tools.twin.session import Result, Session
from tools.twin.words import Began, Done, Ended, File, Step, Tick, Up, Word

# ---------------------------------------------------------------------------------- no inference while not live


def change(state: str, at_ns: int) -> tuple[SignalChanged, int]:
    previous = SignalState.STARTING
    return SignalChanged(state=SignalState(state), previous=previous, captured_ns=at_ns, media_ns=at_ns), at_ns


def status(at_ns: int, frames: int, pid: int = 7) -> Any:
    source = SimpleNamespace(frames=frames)
    return SimpleNamespace(updated_ns=at_ns, pid=pid, state=SignalState.NO_SIGNAL, source=source)


def test_the_spans_without_a_live_signal() -> None:
    changes = [change("no_signal", 10), change("unstable", 20), change("live", 30), change("black", 50)]
    assert not_live(changes, until_ns=99) == [(10, 30), (50, 99)]
    assert not_live([change("live", 5)], until_ns=99) == []


def test_frames_counted_in_such_a_span_are_found() -> None:
    spans = [(10, 30)]
    assert looked_at_while_not_live([status(11, 5), status(20, 5), status(29, 5)], spans) == []
    assert looked_at_while_not_live([status(11, 5), status(20, 6)], spans) == ["1 frames while no_signal"]


def test_frames_before_and_after_it_and_of_another_process_are_not() -> None:
    spans = [(10, 30)]
    assert looked_at_while_not_live([status(8, 4), status(11, 5), status(31, 9)], spans) == []
    assert looked_at_while_not_live([status(11, 5, pid=7), status(20, 6, pid=8)], spans) == []


# --------------------------------------------------------------------------------------- who gets which result


class FakeMachine:
    """Says what it is told to, and then nothing more."""

    def __init__(self, said: list[Word | None], off: bool = True) -> None:
        self._said: Iterator[Word | None] = iter(said)
        self.off = off

    def next(self, deadline: float) -> Word | None:
        return next(self._said, None)


def wanted(*names: str) -> list[Scenario]:
    return [Scenario(name, f"{name} holds", 60.0, False, lambda twin: None) for name in names]


def followed(names: list[str], said: list[Word | None], folder: Path, off: bool = True) -> list[Result]:
    run = session._Run(wanted(*names), folder, lambda word: None)
    run.follow(FakeMachine(said, off))  # type: ignore[arg-type]
    return run.results


UP = Up(kernel="6.1", uptime_s=50.0)


def ended(name: str, problem: str = "") -> Ended:
    return Ended(scenario=name, problem=problem, seconds=1.5, measured={"to live, s": 0.5})


def test_results_and_evidence_are_taken_as_they_come(tmp_path: Path) -> None:
    said = [UP, Began(scenario="a"), Step(scenario="a", at_s=1, text="x"), File(name="a/log.txt", text="words")]
    said += [ended("a"), Began(scenario="b"), ended("b", "it did not hold"), Done()]
    results = followed(["a", "b"], said, tmp_path)
    assert [(one.scenario, one.problem) for one in results] == [("a", ""), ("b", "it did not hold")]
    assert (tmp_path / "a" / "log.txt").read_text() == "words"


def test_a_machine_that_dies_costs_the_scenario_that_it_died_of(tmp_path: Path) -> None:
    results = followed(["a", "b", "c"], [UP, Began(scenario="a"), ended("a"), Began(scenario="b"), None], tmp_path)
    assert [one.scenario for one in results] == ["a", "b"]  # and "c" gets another machine
    assert "went off by itself" in results[1].problem


def test_a_machine_that_falls_silent_is_said_to(tmp_path: Path) -> None:
    [lost] = followed(["a"], [UP, Began(scenario="a")], tmp_path, off=False)
    assert "said nothing" in lost.problem


def test_a_scenario_has_its_limit_in_the_machines_own_time(tmp_path: Path) -> None:
    ticks: list[Word | None] = [Tick(uptime_s=50.0), Tick(uptime_s=111.0), ended("a"), Done()]
    [lost] = followed(["a"], [UP, Began(scenario="a"), *ticks], tmp_path)
    assert "not over within 60 s" in lost.problem
    ticks[1] = Tick(uptime_s=109.0)
    [held] = followed(["a"], [UP, Began(scenario="a"), *ticks], tmp_path)
    assert not held.problem


@pytest.mark.parametrize("said", [[], [UP], [UP, Done(problem="the agent gave up: no broker")]])
def test_a_machine_on_which_nothing_began_fails_everything(said: list[Word | None], tmp_path: Path) -> None:
    results = followed(["a", "b"], said, tmp_path)
    assert [one.scenario for one in results] == ["a", "b"]
    assert all(one.problem for one in results)


def test_every_word_survives_the_wire() -> None:
    for word in (UP, Began(scenario="a"), ended("a"), File(name="n", text="é\n"), Done()):
        assert words.decode(words.encode(word)) == word


# --------------------------------------------------------------------------------------------- what is played


def test_every_scenario_says_what_it_proves() -> None:
    for name in scenarios.names():
        scenario = scenarios.load(name)
        assert scenario.proves.endswith("."), name
        assert callable(scenario.run), name


def test_an_unknown_scenario_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="there is no scenario 'nonsense'"):
        scenarios.load("nonsense")


def test_the_guest_gets_its_own_pythons_packages() -> None:
    names = [line.partition(">")[0].partition("=")[0] for line in image.requirements()]
    assert "numpy" in names
    assert "tomli" not in names  # Python 3.11 has it
    assert len(image.constraints()) == len({line.partition("=")[0] for line in image.constraints()})


def test_the_checkout_that_travels_has_the_box_and_not_the_factory() -> None:
    files = checkout._files()
    assert "edge/core.py" in files
    assert any(name.startswith("models/") for name in files)
    assert not any(name.startswith(("calibration/", "tests/")) for name in files)


def test_the_report_counts_what_held() -> None:
    results = [
        Result(scenario="a", proves="A holds.", problem="", seconds=12.0, measured={"to live, s": 0.5}),
        Result(scenario="b", proves="B holds.", problem="no | yes", seconds=3.0, measured={}),
    ]
    page = report.page(Session(results=results, kernel="6.1", boot_s=60.0, boots=1), emulated=True)
    assert "**1 of 2 held**" in page
    assert "| `a` | A holds. | yes | 12 | to live, s **0.5** |" in page
    assert "**no**: no \\| yes" in page
