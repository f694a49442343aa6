"""What the updater sees of a box: files of other processes, read as far as they go."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from edge import status
from edge.cli.site import read_site
from edge.cli.update_world import BoxWorld, mains
from edge.console.report import Report, Row
from edge.errors import UpdateError
from edge.status import SafeStatus
from edge.types import SignalState
from edge.update.config import Places
from edge.update.state import Slots

SITE = """device = "box-1"
pipeline = "colonoscopy"
run_dir = "run"
[capture]
source = "test"
[uplink]
host = "localhost"
"""
CORE: dict[str, Any] = {
    "version": "1.1.0",
    "pid": 7,
    "state": "live",
    "view": "out_of_body",
    "fps": 25.0,
    "source": {"frames": 100, "of a later release": 1},
    "stages": {"infer": {"p99_ms": 18.0}, "pull": {"p99_ms": 22.0}},
}


class Seen:
    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, folder / "run"
        (folder / "endoedge.toml").write_text(SITE)
        self.places = Places(
            state=str(folder),
            slots=str(folder / "slots"),
            running=str(folder / "running"),
            orders=str(folder / "orders"),
        )
        for name in ("run", "slots", "running", "orders"):
            (folder / name).mkdir()
        self.world = BoxWorld(read_site(folder / "endoedge.toml"), self.places, root=folder)

    def core(self, age_s: float = 0.0, **changes: Any) -> None:
        updated_ns = time.monotonic_ns() - round(age_s * 1e9)
        status.write(self.run / "status.json", {**CORE, **changes, "updated_ns": updated_ns})

    def uplink(self, connected: bool) -> None:
        status.write(self.run / "uplink.json", {"connected": connected, "updated_ns": time.monotonic_ns()})

    def test(self, *rows: Row, age_s: float = 0.0) -> None:
        at_ns = time.monotonic_ns() - round(age_s * 1e9)
        report = Report(ok=all(row.good for row in rows), checks=list(rows), exit=0, at_ns=at_ns)
        status.write(self.run / "selftest.json", report)


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    return Seen(tmp_path)


@pytest.mark.parametrize(
    ("core", "procedure"),
    [
        ({}, False),
        ({"procedure": "run-1"}, True),
        ({"procedure": "run-1", "state": "no_signal", "view": ""}, True),
        ({"view": "good"}, True),
        ({"view": "poor"}, True),
        ({"view": "good", "state": "frozen"}, False),
        ({"age_s": 10.0}, None),
    ],
)
def test_a_view_of_the_inside_is_a_procedure(seen: Seen, core: dict[str, Any], procedure: bool | None) -> None:
    seen.core(**core)
    assert seen.world.moment().procedure is procedure


def test_without_a_core_it_is_not_known_but_in_the_safe_state_nobody_watches(seen: Seen) -> None:
    assert seen.world.moment().procedure is None
    now_ns = time.monotonic_ns()
    status.write(
        seen.run / "safe.json", SafeStatus(reason="it crashed", since_ns=now_ns, until_ns=0, updated_ns=now_ns)
    )
    assert seen.world.moment().procedure is False
    assert seen.world.sample(0.0).safe == "it crashed"


def test_how_the_release_does(seen: Seen) -> None:
    seen.core()
    seen.uplink(True)
    health = seen.world.health()
    assert (health.live, health.fps, health.p99_ms, health.connected) == (True, 25.0, 22.0, True)
    sample = seen.world.sample(0.0)
    assert (sample.core_pid, sample.version, sample.frames, sample.p99_ms) == (7, "1.1.0", 100, 22.0)
    assert (sample.state, sample.connected, sample.tested) == (SignalState.LIVE, True, None)
    seen.core(age_s=10.0)
    assert (seen.world.sample(0.0).core_pid, seen.world.health().live) == (0, False)


def test_of_the_self_test_those_rows_count_that_a_release_answers_for(seen: Seen) -> None:
    began_s = time.clock_gettime(time.CLOCK_BOOTTIME) - 5
    fit, off = Row("golden vectors", True, "fit"), Row("golden vectors", False, "polyp: off by 9")
    seen.test(fit, Row("disk", False, "full"), Row("phantom", None, "not tried"))
    assert seen.world.sample(began_s).tested is True
    seen.test(off, Row("disk", False, "full"))
    sample = seen.world.sample(began_s)
    assert (sample.tested, sample.test_words) == (False, "golden vectors: polyp: off by 9")
    seen.test(off, age_s=60.0)
    assert seen.world.sample(began_s).tested is None, "it is of before the trial"


def test_the_slots_as_the_system_says(seen: Seen) -> None:
    assert seen.world.slots() == Slots("F")
    (seen.folder / "running/booted").write_text("B\n")
    (seen.folder / "slots/boot.json").write_text(
        '{"primary": "A", "good": ["A"], "trial": "B", "left": 2, "why": "", "trials": 4}'
    )
    assert seen.world.slots() == Slots("B", "B", 4, frozenset("A"), "")
    with pytest.raises(UpdateError, match="trial"):
        seen.world.trial()
    (seen.folder / "running/trial").write_text('{"slot": "B", "began_s": 1.5, "until_s": 301.5, "start": 1}')
    assert seen.world.trial() == (1.5, 301.5)


def test_room_is_what_the_slot_that_does_not_run_may_take(seen: Seen) -> None:
    (seen.folder / "running/booted").write_text("A\n")
    (seen.folder / "slots/A.img").write_bytes(b"a" * 10)
    (seen.folder / "slots/B.img").write_bytes(b"b" * 5000)
    moment = seen.world.moment()
    assert moment.slot_bytes is not None
    assert abs(moment.slot_bytes - moment.free_bytes - 5000) < 64 << 20  # others write on this disk, too


def test_orders_are_empty_files(seen: Seen) -> None:
    seen.world.restart()
    seen.world.test()
    assert sorted(path.name for path in (seen.folder / "orders").iterdir()) == ["selftest", "switch"]
    for path in (seen.folder / "orders").iterdir():
        path.unlink()
    (seen.folder / "orders").rmdir()
    with pytest.raises(UpdateError, match=r"orders/switch: cannot be made: No such file"):
        seen.world.restart()


@pytest.mark.parametrize(("supplies", "said"), [({}, None), ({"AC": "1"}, True), ({"AC": "0"}, False)])
def test_mains(tmp_path: Path, supplies: dict[str, str], said: bool | None) -> None:
    battery = tmp_path / "sys/class/power_supply/BAT0"
    battery.mkdir(parents=True)
    (battery / "type").write_text("Battery\n")
    for name, online in supplies.items():
        folder = tmp_path / "sys/class/power_supply" / name
        folder.mkdir()
        (folder / "type").write_text("Mains\n")
        (folder / "online").write_text(f"{online}\n")
    assert mains(tmp_path) is said
