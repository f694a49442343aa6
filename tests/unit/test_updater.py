"""What the updater does and when, on a box on paper: consent, obstacles, trials, wishes; and killed at every effect."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.errors import UpdateError
from edge.types import SignalState
from edge.update import slot, state, updater
from edge.update.config import UpdateConfig
from edge.update.gate import Needs
from edge.updating import UpdateStatus
from tests.support.paper_box import PaperBox, kill_in_writes, offer

CAREFUL = UpdateConfig(url="https://updates.example", gate=Needs(healthy_s=3))


@pytest.fixture
def box(tmp_path: Path) -> PaperBox:
    return PaperBox(tmp_path)


@pytest.fixture
def careful(tmp_path: Path) -> PaperBox:
    """A site on which a person agrees to each release."""
    return PaperBox(tmp_path, CAREFUL)


def runs(box: PaperBox, version: str) -> UpdateStatus:
    return box.until(lambda now: now.state == "idle" and now.version == version)


def left(box: PaperBox) -> UpdateStatus:
    """It was tried, and what ran before runs again."""
    return box.until(lambda now: now.state == "idle" and now.version == "1.0.0" and box.boot.trials > 0)


def test_a_release_comes_is_tried_and_stays(box: PaperBox) -> None:
    said = runs(box, "1.1.0")
    assert (said.slot, said.trouble, said.offer, said.refused) == ("A", "", None, ())
    assert box.effects == ["activate", "restart", "test", "accept"]
    box.offered = offer("1.2.0")
    assert runs(box, "1.2.0").slot == "B"
    assert box.bundles == set()


def test_nothing_is_written_until_a_person_agrees_to_that_very_version(careful: PaperBox) -> None:
    said = careful.until(lambda now: now.state == "fetched")
    assert [one.code for one in said.obstacles] == ["consent"]
    assert said.offer is not None
    assert (said.offer.version, said.offer.bytes) == ("1.1.0", 1000)
    assert careful.answered("install") == (
        False,
        "name the version that you agree to: endoedge update install 1.1.0",
    )
    assert careful.answered("install", "1.0.9") == (False, "1.0.9 is not offered; 1.1.0 is")
    assert careful.running.status().state == "fetched"
    careful.wish("install", "1.1.0")
    assert runs(careful, "1.1.0").slot == "A"


@pytest.mark.parametrize("killed", [False, True])
def test_a_person_may_agree_while_it_comes(careful: PaperBox, killed: bool) -> None:
    careful.arriving.clear()
    careful.until(lambda now: now.state == "downloading" and now.detail)
    assert careful.answered("install", "1.0.9") == (False, "1.0.9 is not offered; 1.1.0 is")
    assert careful.answered("check")[0] is False
    wanted, agreed = careful.wish("download", "1.1.0"), careful.wish("install", "1.1.0")
    said = careful.until(lambda now: {one.id for one in now.answers} >= {wanted, agreed})
    assert {one.words for one in said.answers if one.id in (wanted, agreed)} == {"50 %: 0 of 0 MiB"}
    if killed:
        careful.boot_up()
    careful.arriving.set()
    assert runs(careful, "1.1.0").slot == "A"


def test_consent_is_to_one_bundle_alone(careful: PaperBox) -> None:
    careful.ask = replace(careful.ask, procedure=True)
    careful.until(lambda now: now.state == "fetched")
    ok, words = careful.answered("install", "1.1.0")
    assert (ok, words) == (True, "it waits: a procedure is going on")
    careful.offered = offer("1.1.1")
    assert careful.answered("check") == (True, "1.1.1 is offered")
    careful.ask = replace(careful.ask, procedure=False)
    said = careful.until(lambda now: now.state == "fetched" and now.offer and now.offer.version == "1.1.1")
    assert [one.code for one in said.obstacles] == ["consent"]


@pytest.mark.parametrize(
    ("change", "code", "stays"),
    [
        ({"procedure": True}, "procedure", "fetched"),
        ({"procedure": None}, "procedure", "fetched"),
        ({"mains": False}, "power", "fetched"),
        ({"throttled": True}, "heat", "fetched"),
        ({"slot_bytes": 10}, "slot", "fetched"),
        ({"free_bytes": 10}, "disk", "offered"),
    ],
)
def test_it_waits_for_as_long_as_something_speaks_against_it(
    box: PaperBox, change: dict[str, object], code: str, stays: str
) -> None:
    before = box.ask
    box.ask = replace(box.ask, **change)
    said = box.until(lambda now: now.obstacles and now.state == stays)
    for _ in range(20):
        box.turn()
    assert ([one.code for one in said.obstacles], box.version) == ([code], "1.0.0")
    box.ask = before
    runs(box, "1.1.0")


def test_a_procedure_that_begins_after_the_writing_holds_up_the_switch(box: PaperBox) -> None:
    install = box.install

    def installed(*given: object) -> str:
        box.ask = replace(box.ask, procedure=True)
        return install(*given)  # type: ignore[arg-type]

    box.install = installed  # type: ignore[method-assign]
    said = box.until(lambda now: now.state == "installed")
    assert box.until(lambda now: now.obstacles).obstacles[0].code == "procedure"
    assert said.version == "1.0.0"
    box.ask = replace(box.ask, procedure=False)
    runs(box, "1.1.0")


@pytest.mark.parametrize(
    ("bad", "why", "refused"),
    [
        ({"safe": "the core is not started: it crashed"}, "it crashed", ("1.1.0",)),
        ({"tested": False, "test_words": "golden vectors: off"}, "golden vectors", ("1.1.0",)),
        ({"core_pid": 0}, "says nothing of itself", ()),
        ({"fps": 5.0}, "5.0 frames a second, 25.0 before", ()),
        ({"connected": False}, "broker", ()),
        ({"state": SignalState.FAILED}, "the signal is failed", ()),
    ],
)
def test_a_bad_one_is_left(box: PaperBox, bad: dict[str, object], why: str, refused: tuple[str, ...]) -> None:
    box.bad["1.1.0"] = bad
    said = left(box)
    assert why in said.trouble
    assert said.refused == refused
    assert box.boot.good == frozenset()


def test_three_times_and_no_more(box: PaperBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updater, "REST_S", 0.0)
    box.bad["1.1.0"] = {"fps": 5.0}
    said = box.until(lambda now: now.refused, 2000)
    assert (said.version, said.refused, box.boot.trials) == ("1.0.0", ("1.1.0",), 3)
    for _ in range(50):
        box.turn()
    assert box.boot.trials == 3
    box.offered = offer("1.1.1")
    box.wish("check")
    runs(box, "1.1.1")


def test_after_a_failure_it_rests(box: PaperBox) -> None:
    box.bad["1.1.0"] = {"fps": 5.0}
    left(box)
    said = box.until(lambda now: now.state == "offered")
    assert [one.code for one in said.obstacles] == ["rest"]


def test_a_person_may_want_again_what_was_refused(careful: PaperBox) -> None:
    careful.bad["1.1.0"] = {"tested": False, "test_words": "golden vectors"}
    careful.until(lambda now: now.state == "fetched")
    careful.wish("install", "1.1.0")
    assert left(careful).refused == ("1.1.0",)
    said = careful.until(lambda now: now.obstacles)
    assert [one.code for one in said.obstacles] == ["refused"]
    careful.bad.clear()
    careful.wish("install", "1.1.0")
    runs(careful, "1.1.0")


def test_a_person_goes_back_and_is_not_brought_forward_again(box: PaperBox) -> None:
    assert box.answered("rollback") == (
        False,
        "what runs is what was installed first: there is nothing behind it",
    )
    runs(box, "1.1.0")
    box.offered = offer("1.2.0")
    runs(box, "1.2.0")
    box.wish("rollback")
    said = runs(box, "1.1.0")
    assert (said.refused, said.trouble) == (("1.2.0",), "anna asked for it")
    for _ in range(30):
        box.turn()
    assert box.version == "1.1.0"
    box.wish("rollback")
    assert runs(box, "1.0.0").slot == "F"


def test_a_person_ends_a_trial_either_way(box: PaperBox) -> None:
    assert box.answered("confirm") == (False, "nothing is on trial")
    box.bad["1.1.0"] = {"connected": False}
    box.until(lambda now: now.state == "trying")
    box.wish("confirm")
    runs(box, "1.1.0")
    box.offered = offer("1.2.0")
    box.bad["1.2.0"] = {"connected": False}
    box.wish("check")
    box.until(lambda now: now.state == "trying")
    box.wish("rollback")
    assert runs(box, "1.1.0").refused == ("1.2.0",)


def test_what_is_offered_no_more_is_left_alone(careful: PaperBox) -> None:
    careful.until(lambda now: now.state == "fetched")
    careful.offered = offer("1.0.0")
    assert careful.answered("check") == (True, "version 1.0.0 runs")
    assert careful.running.status().state == "idle"


@pytest.mark.parametrize("call", ["check", "download", "install", "activate", "accept"])
def test_what_breaks_is_said_and_tried_again(box: PaperBox, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updater, "AGAIN_S", (0.0, 0.0))
    monkeypatch.setattr(updater, "SOON_S", 0.0)
    box.running._again_s = 0.0
    box.trouble[call] = UpdateError(f"{call}: no", "unreachable")
    said = box.until(lambda now: now.trouble)
    assert said.trouble == f"{call}: no"
    assert box.version == ("1.1.0" if call == "accept" else "1.0.0")
    box.trouble.clear()
    runs(box, "1.1.0")
    box.until(lambda now: not now.trouble)


@pytest.mark.parametrize("from_when", ["activated", "started"])
def test_on_a_full_disk_it_starts_says_so_and_orders_nothing(
    box: PaperBox, from_when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full before the order, or before the release on trial has noted that it is."""
    with monkeypatch.context() as full:
        save = state.save

        def fails(file: Path, memory: state.Memory) -> None:
            if box.boot.trial == box.booted or (box.boot.trial and from_when == "activated"):
                raise UpdateError(f"{file}: cannot be written: No space left on device")
            save(file, memory)

        full.setattr(updater.state, "save", fails)
        box.until(lambda now: "No space left" in now.trouble)
        box.running = box._start()
        box.until(lambda now: "No space left" in now.trouble)
        assert box.effects == (["activate"] if from_when == "activated" else ["activate", "restart"])
    runs(box, "1.1.0")


def test_what_the_slots_say_of_a_damaged_image_is_said(box: PaperBox) -> None:
    runs(box, "1.1.0")
    box.boot = slot.spoil(box.boot, "A", "A.img: its sha256 is not that of what was written")
    box.offered = offer("1.0.0")
    box.boot_up()
    said = box.turn()
    assert said is not None
    assert (said.version, said.trouble) == ("1.0.0", "A.img: its sha256 is not that of what was written")


def test_a_bundle_that_rauc_refuses_is_not_tried_again(box: PaperBox) -> None:
    box.trouble["install"] = UpdateError("signature: no", "refused")
    said = box.until(lambda now: now.refused)
    assert (said.version, said.refused, said.state) == ("1.0.0", ("1.1.0",), "idle")


def test_expired_metadata_changes_nothing_and_is_said(box: PaperBox) -> None:
    runs(box, "1.1.0")
    box.trouble["check"] = UpdateError("timestamp.json has expired", "expired")
    assert box.answered("check") == (False, "timestamp.json has expired")
    said = box.turn()
    assert said is not None
    assert (said.trouble, said.state, said.version) == ("timestamp.json has expired", "idle", "1.1.0")


def effects(folder: Path, monkeypatch: pytest.MonkeyPatch, bad: bool) -> list[str]:
    with monkeypatch.context() as patch:
        box = PaperBox(folder)
        kill_in_writes(box, patch)
        play(box, bad)
        return box.effects


def play(box: PaperBox, bad: bool) -> None:
    if bad:
        box.bad["1.1.0"] = {"tested": False, "test_words": "golden vectors"}
        box.until(lambda now: now.refused == ("1.1.0",) and now.state == "idle" and now.version == "1.0.0")
    else:
        runs(box, "1.1.0")


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("bad", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_effect_it_comes_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: bool, after: bool, power: bool
) -> None:
    """Before and after each of them, by SIGKILL and with the whole machine."""
    whole = effects(tmp_path / "whole", monkeypatch, bad)
    states = {name.removeprefix("save ") for name in whole if name.startswith("save ")}
    assert states >= {"offered", "downloading", "fetched", "installing", "installed", "switching", "trying", "idle"}
    assert ("going_back" in states) == bad
    for number in range(1, len(whole) + 1):
        with monkeypatch.context() as patch:
            box = PaperBox(tmp_path / f"{number}")
            kill_in_writes(box, patch)
            box.kill_at, box.kill_after, box.power = number, after, power
            play(box, bad)
            assert box.kill_at == -1, f"effect {number} never came"
            assert box.boot.good == (frozenset() if bad else frozenset("A"))
