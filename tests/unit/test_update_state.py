"""Where an update stands: what may follow, and what is read from the slots after a crash."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.errors import UpdateError
from edge.update import state
from edge.update.offer import Bundle, Offer
from edge.update.state import FOLLOWS, TRIALS, Event, Memory, Slots, after, agree, held, returned, settle
from edge.updating import State

STATES = typing.get_args(State)
DIGEST = "ab" * 32
OFFER = Offer(version="1.2.0", channel="stable", hardware=("x86",), bundle=Bundle(url="b", size=1, sha256=DIGEST))
ON_TRIAL = Slots("B", "B", trials=4, good=frozenset("A"))
CAME_BACK = Slots("A", trials=4, good=frozenset("A"), why="it hung")
HELD = Slots("B", trials=4, good=frozenset("AB"))
BEFORE = Slots("A", trials=3, good=frozenset("A"))


def memory(now: str, **changes: object) -> Memory:
    inside = {"A": replace(OFFER, version="1.1.0", bundle=Bundle(url="a", size=1, sha256="cd" * 32)), "B": OFFER}
    made = Memory(state=typing.cast(State, now), offer=OFFER, target="B", trials=3, inside=inside)
    return replace(made, **changes)


def test_every_state_has_a_way_on_and_can_be_come_to() -> None:
    assert set(FOLLOWS) == set(STATES)
    assert {to for ways in FOLLOWS.values() for to in ways.values()} == set(STATES)
    assert {event for ways in FOLLOWS.values() for event in ways} == set(typing.get_args(Event))


def test_what_cannot_happen_is_an_error() -> None:
    with pytest.raises(ValueError, match="held while idle"):
        after(Memory(), "held")


@pytest.mark.parametrize(
    ("now", "slots", "then"),
    [
        # Killed before RAUC was asked; after it, before the restart; after the restart.
        ("switching", BEFORE, "installed"),
        ("switching", Slots("A", "B", trials=4, good=frozenset("A")), "switching"),
        ("switching", ON_TRIAL, "trying"),
        # ... after it ended, without a word of ours.
        ("switching", CAME_BACK, "idle"),
        ("switching", HELD, "idle"),
        ("trying", ON_TRIAL, "trying"),
        ("trying", HELD, "idle"),
        ("trying", CAME_BACK, "idle"),
        # Going back: before it was said to RAUC, before the restart, after it.
        ("going_back", ON_TRIAL, "going_back"),
        ("going_back", Slots("B", trials=4, good=frozenset("A")), "going_back"),
        ("going_back", HELD, "going_back"),
        ("going_back", CAME_BACK, "idle"),
        ("installing", BEFORE, "fetched"),
        # Nothing of it is known any more, and the slots say that a release is on trial.
        ("idle", ON_TRIAL, "trying"),
        ("idle", Slots("A", "B", trials=4, good=frozenset("A")), "switching"),
        *((now, BEFORE, now) for now in ("idle", "offered", "downloading", "fetched", "installed")),
    ],
)
def test_what_a_crash_left(now: str, slots: Slots, then: str) -> None:
    assert settle(memory(now), slots).state == then


SLOTS = st.builds(
    Slots,
    st.sampled_from("ABF"),
    st.sampled_from(["", "A", "B"]),
    st.integers(0, 5),
    st.frozensets(st.sampled_from("AB")),
    st.sampled_from(["", "it hung"]),
)


@given(st.sampled_from(STATES), SLOTS, st.sampled_from(["", "A", "B"]))
def test_settling_twice_says_no_more_than_once(now: str, slots: Slots, target: str) -> None:
    once = settle(memory(now, target=target), slots)
    assert settle(once, slots) == once


@given(st.sampled_from(STATES), SLOTS)
def test_a_trial_is_never_overlooked_and_never_made_up(now: str, slots: Slots) -> None:
    then = settle(memory(now), slots)
    runs_on_trial = bool(slots.trial) and slots.trial == slots.booted
    assert (then.state in ("trying", "going_back")) >= runs_on_trial
    if then.state == "trying":
        assert runs_on_trial


def test_a_release_that_never_noted_that_it_ran_has_failed_nevertheless() -> None:
    """The one before was still there for a turn after it had asked for the trial."""
    begun = settle(memory("switching"), Slots("A", "B", trials=4, good=frozenset("A")))
    over = settle(begun, CAME_BACK)
    assert (over.state, over.why) == ("idle", CAME_BACK.why)
    assert list(over.failures.values()) == [1]


def test_a_release_that_did_not_hold_three_times_is_refused() -> None:
    now = memory("trying", why="it was slow")
    for number in range(1, TRIALS):
        now = settle(now, CAME_BACK)
        assert (now.state, now.failures, now.refused) == ("idle", {DIGEST: number}, ())
        now = replace(now, state="trying", target="B", why="it was slow")
    now = settle(now, CAME_BACK)
    assert [(one.version, one.sha256, one.why) for one in now.refused] == [("1.2.0", DIGEST, "it was slow")]
    assert now.failures == {}


def test_one_that_certainly_does_not_hold_is_refused_at_once_and_a_person_may_want_it_again() -> None:
    now = returned(memory("going_back", certain=True), "the self-test failed")
    assert [one.sha256 for one in now.refused] == [DIGEST]
    assert not now.certain
    again = agree(now, DIGEST)
    assert (again.refused, again.agreed) == ((), (DIGEST,))


def test_the_reason_is_ours_then_the_system_s_and_never_none() -> None:
    assert returned(memory("trying", why="ours"), "theirs").why == "ours"
    assert returned(memory("trying"), "theirs").why == "theirs"
    assert returned(memory("trying")).why


def test_one_that_holds_has_its_failures_forgotten() -> None:
    now = held(memory("trying", failures={DIGEST: 2, "cd" * 32: 1}))
    assert (now.state, now.offer, now.failures) == ("idle", None, {"cd" * 32: 1})


def test_lists_do_not_grow() -> None:
    now = Memory()
    for number in range(100):
        digest = f"{number:064x}"
        now = state.refuse(
            agree(state.want(now, digest), digest), replace(OFFER, bundle=Bundle(url="b", size=1, sha256=digest)), "no"
        )
    assert len(now.refused) == len(now.agreed) == len(now.wanted) == 16
    assert now.refused[-1].sha256 == digest


def test_the_file_is_whole_or_as_before(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    assert state.load(file) == Memory()
    state.save(file, memory("fetched"))
    assert state.load(file) == memory("fetched")
    file.write_bytes(b'{"state": "offered", "of a later release": 1}')
    assert state.load(file) == Memory(state="offered")
    file.write_bytes(b'{"state": "offe')
    assert state.load(file) == Memory()
    with pytest.raises(UpdateError, match=r"none/state\.json: cannot be written: No such file"):
        state.save(tmp_path / "none" / "state.json", Memory())
