"""A release on trial: what it has to show, for how long, and what ends it at once."""

from __future__ import annotations

import pytest

from edge.types import SignalState
from edge.update.gate import Back, Gate, Hold, Needs, Sample, Wait
from edge.update.state import Health

BEFORE = Health(live=True, fps=25.0, p99_ms=20.0, connected=True)
UNTIL_S = 300.0
GOOD = Sample(
    at_s=0.0,
    core_pid=10,
    version="1.2.0",
    state=SignalState.LIVE,
    fps=25.0,
    frames=0,
    p99_ms=22.0,
    connected=True,
    tested=True,
)


def play(*changes: dict[str, object], before: Health = BEFORE, needs: Needs = Needs(), fps: int = 25) -> list[object]:  # noqa: B008
    """One sample a second; the last of `changes` lasts."""
    gate, said = Gate(needs, "1.2.0", before, UNTIL_S), []
    for second in range(1, 400):
        change = changes[min(second, len(changes)) - 1] if changes else {}
        seen = GOOD._replace(at_s=float(second), frames=second * fps)._replace(**change)
        said.append(gate.step(seen))
        if not isinstance(said[-1], Wait):
            return said
    raise AssertionError("it never ends")


def test_it_holds_when_it_was_healthy_for_long_enough() -> None:
    said = play(fps=1)
    assert said[-1] == Hold()
    assert len(said) == 121


def test_so_many_pictures_are_as_good() -> None:
    said = play()
    assert said[-1] == Hold()
    assert len(said) == 121
    assert len(play(needs=Needs(healthy_frames=250))) == 11


def test_a_break_begins_anew() -> None:
    said = play(*[{}] * 100, {"fps": 1.0}, {}, fps=1)
    assert said[-1] == Hold()
    assert len(said) == 100 + 1 + 121
    assert said[100] == Wait(0.0, "1.0 frames a second, 25.0 before")


@pytest.mark.parametrize(
    ("change", "lacks"),
    [
        ({"core_pid": 0}, "the core says nothing of itself"),
        ({"version": "1.1.0"}, "the core is of release 1.1.0, not 1.2.0"),
        ({"state": SignalState.STARTING}, "the signal is starting"),
        ({"state": SignalState.FAILED}, "the signal is failed"),
        ({"state": SignalState.NO_SIGNAL}, "the signal is no_signal, and was live before"),
        ({"fps": 19.0}, "19.0 frames a second, 25.0 before"),
        ({"p99_ms": 41.0}, "a frame takes up to 41 ms, 20 before"),
        ({"connected": False}, "the broker is not reached, and was before"),
        ({"tested": None}, "the self-test has not ended"),
    ],
)
def test_what_it_lacks_to_the_end_sends_it_back_in_time(change: dict[str, object], lacks: str) -> None:
    said = play(change)
    assert said[-1] == Back(lacks, certain=False)
    assert UNTIL_S - 5 <= len(said) <= UNTIL_S


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"safe": "the core is not started: it crashed"}, "the core is not started: it crashed"),
        ({"tested": False, "test_words": "golden vectors: off"}, "the self-test failed: golden vectors: off"),
    ],
)
def test_what_would_be_so_again_ends_it_at_once(change: dict[str, object], why: str) -> None:
    assert play({}, change)[1:] == [Back(why, certain=True)]


def test_a_core_that_is_started_again_and_again_is_not_kept_up() -> None:
    said = play({}, {"core_pid": 11}, {"core_pid": 12})
    assert said[-1] == Back("the core was started 3 times", certain=True)


def test_one_restart_costs_the_time_until_then() -> None:
    said = play(*[{}] * 50, {"core_pid": 11}, fps=1)
    assert said[-1] == Hold()
    assert len(said) == 50 + 121


@pytest.mark.parametrize("state", [SignalState.NO_SIGNAL, SignalState.BLACK, SignalState.FROZEN])
def test_a_tower_that_was_off_before_may_be_off(state: SignalState) -> None:
    said = play({"state": state, "fps": 0.0, "frames": 0, "connected": False}, before=Health())
    assert said[-1] == Hold()


def test_it_may_be_a_little_slower() -> None:
    assert play({"fps": 20.0, "p99_ms": 39.9})[-1] == Hold()
