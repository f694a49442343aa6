"""The units under a real systemd: they come up, are watched over, end in a safe state, and stop in time."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.nspawn.machine import CORE, PASSWORD, PYTHON, ROOT, RUN, SAFE, UPLINK, Machine

pytestmark = pytest.mark.timeout(300)  # the first one waits for the boot
STATE = "endoedge/box/state"


def core_status(box: Machine) -> dict[str, Any]:
    text = box.read(RUN / "status.json")
    return dict(json.loads(text)) if text else {}


def troubles(box: Machine) -> list[str]:
    return [f"{trouble['where']}: {trouble['what']}" for trouble in core_status(box)["troubles"]]


def live(box: Machine) -> bool:
    status = core_status(box)
    return status.get("state") == "live" and status.get("pid") == box.pid(CORE) and box.active(CORE)


def retained_state(box: Machine) -> dict[str, object]:
    return dict(json.loads((box.messages(STATE, within_s=5) or ["{}"])[0]))


def stopped(box: Machine, *units: str) -> bool:
    return all((box.show(unit, "ActiveState"), box.show(unit, "Result")) == ("inactive", "success") for unit in units)


def test_boots_to_live(box: Machine) -> None:
    """Ready means the first frame, through the real model; the uplink has its password, and is at the broker."""
    box.wait(lambda: live(box), "the core is live")
    for unit, seconds in box.boot_s.items():
        print(f"{unit}: ready {seconds:.2f} s after its start at boot, {box.ready_after_s(unit):.2f} s after its last")
    assert box.show(CORE, "StatusText").startswith("live, ")
    state = retained_state(box)
    assert (state["online"], state["safe"]) == (True, "")


def test_units_are_clean(box: Machine) -> None:
    """It exits with 0 for a key that it does not know: what counts is that it has nothing to say of our units."""
    units = ["endoedge.target", CORE, UPLINK, SAFE, "endoedge-console@ttyGS0.service"]
    said = box.attempt("systemd-analyze", "verify", *units)
    assert [line for line in said.stderr.splitlines() if "endoedge" in line] == []


def test_a_core_that_hangs_is_started_again(box: Machine) -> None:
    before, uplink = box.pid(CORE), box.pid(UPLINK)
    box.signal(CORE, "STOP")
    took = box.wait(lambda: box.pid(CORE) not in (0, before) and live(box), "another core is live")
    print(f"hang to live: {took:.1f} s, WatchdogSec {box.show(CORE, 'WatchdogUSec')}")
    assert box.read(RUN / "core.end").split()[0] == "watchdog"
    assert "core: was started again: it hung" in troubles(box)
    assert box.pid(UPLINK) == uplink


def test_an_uplink_that_hangs_is_started_again(box: Machine) -> None:
    box.drop_in(UPLINK, "[Service]\nWatchdogSec=3\n")
    box.run("systemctl", "restart", UPLINK)
    before, core = box.pid(UPLINK), box.pid(CORE)
    box.signal(UPLINK, "STOP")
    box.wait(lambda: box.pid(UPLINK) not in (0, before) and box.active(UPLINK), "another uplink works")
    assert box.pid(CORE) == core
    box.wait(lambda: retained_state(box)["online"], "it is at the broker")


def test_a_storm_of_crashes_ends_in_the_safe_state_and_comes_out_of_it(box: Machine) -> None:
    box.drop_in(CORE, "[Unit]\nStartLimitIntervalSec=15\n")
    box.drop_in(SAFE, "[Service]\nExecStart=\nExecStart=/opt/endoedge/venv/bin/endoedge run safe --rest 16\n")
    uplink, kills, killed = box.pid(UPLINK), 0, 0
    while not box.active(SAFE):
        process = box.pid(CORE)
        if process not in (0, killed):
            box.attempt("kill", "-KILL", str(process))
            kills, killed = kills + 1, process
        assert kills < 10, "the core is started for ever"
    print(f"safe after {kills} crashes")
    assert not box.active(CORE)
    assert box.pid(UPLINK) == uplink
    reason = "the core is not started: it was killed (SIGKILL)"
    assert json.loads(box.read(RUN / "safe.json"))["reason"] == reason
    box.wait(lambda: retained_state(box)["safe"] == reason, "the broker knows of it")
    assert reason in box.show(SAFE, "StatusText")
    assert core_status(box) == {}
    box.wait(lambda: live(box), "the core was tried again, and is live")
    assert not box.active(SAFE)
    box.wait(lambda: retained_state(box)["safe"] == "", "the broker knows of that, too")
    assert box.pid(UPLINK) == uplink


def test_a_person_who_stops_the_safe_state_has_stopped_all(box: Machine) -> None:
    box.run("systemctl", "start", SAFE)
    assert not box.active(CORE)
    box.run("systemctl", "stop", "endoedge.target")
    box.wait(lambda: stopped(box, SAFE, UPLINK), "all have stopped")
    assert box.run("systemctl", "list-jobs", "--no-legend") == ""
    assert stopped(box, CORE)


def test_a_core_that_takes_too_much_memory_is_ended(box: Machine) -> None:
    """Under another name: of groups of version 1, one in which something was once cannot be made smaller."""
    tight = "tight.service"
    box.run("systemctl", "stop", CORE)
    text = (ROOT / "systemd" / CORE).read_text() + "[Service]\nMemoryMax=64M\nMemorySwapMax=0\n"
    (box.root / "etc/systemd/system" / tight).write_text(text)
    box.run("systemctl", "daemon-reload")
    try:
        box.run("systemctl", "start", "--no-block", tight)
        box.wait(lambda: int(box.show(tight, "NRestarts")) > 0, "it is started again")
        # Of control groups of version 1 systemd hears the signal alone.
        assert box.read(RUN / "core.end").strip() in ("oom-kill killed KILL", "signal killed KILL")
        assert box.active(UPLINK)
    finally:
        box.run("systemctl", "stop", tight)
        (box.root / "etc/systemd/system" / tight).unlink()
        box.run("systemctl", "daemon-reload")


def test_stops_in_time_and_says_so(box: Machine) -> None:
    box.wait(lambda: live(box), "the core is live")
    began = time.monotonic()
    box.run("systemctl", "stop", "endoedge.target", CORE, UPLINK)
    print(f"stop: {time.monotonic() - began:.1f} s")
    assert stopped(box, CORE, UPLINK)  # well, and not by the SIGKILL that comes when its time is over
    assert core_status(box)["finished"] is True  # all that it had to say is in the outbox
    state = retained_state(box)
    assert (state["online"], state["reason"]) == (False, "stopped")


def test_metrics_are_there_for_this_machine_alone(box: Machine) -> None:
    box.wait(lambda: live(box), "the core is live")
    get = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9108/metrics').read().decode())"
    box.wait(lambda: "endoedge_core_up 1.0" in box.run(PYTHON, "-c", get), "the core is seen")
    assert 'endoedge_signal_state{state="live"} 1.0' in box.run(PYTHON, "-c", get)
    listening = box.run("ss", "-Hltn", "sport = :9108").split()
    assert listening[3] == "127.0.0.1:9108"


@pytest.mark.parametrize(("unit", "logger"), [(CORE, "edge.capture.file"), (UPLINK, "edge.uplink.service")])
def test_the_journal_has_fields(box: Machine, unit: str, logger: str) -> None:
    selected = box.run("journalctl", "-o", "json", f"_SYSTEMD_UNIT={unit}", f"LOGGER={logger}")
    entry = json.loads(selected.splitlines()[-1])
    assert entry["SYSLOG_IDENTIFIER"] == "endoedge"
    assert entry["PRIORITY"] in "2346"
    assert entry["CODE_FILE"].endswith(".py")
    assert int(entry["CODE_LINE"]) > 0


def test_the_password_is_nowhere_to_be_read(box: Machine) -> None:
    """Planted in the one file that root keeps; neither journal nor status files nor arguments nor environment."""
    assert PASSWORD not in box.run("journalctl", "--no-pager", "-o", "verbose")
    for name in ("status.json", "uplink.json"):
        assert PASSWORD not in box.read(RUN / name)
    for unit in (CORE, UPLINK):
        for name in ("cmdline", "environ"):
            assert PASSWORD not in box.run("cat", f"/proc/{box.pid(unit)}/{name}")
