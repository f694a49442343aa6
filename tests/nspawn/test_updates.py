"""Updates under a real systemd, with real RAUC and images: from one release to another, and back from a bad one."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.update import slot
from tests.nspawn import updating
from tests.nspawn.machine import CORE, RUN, SAFE, UPLINK
from tests.nspawn.updating import CRASHES, ETC, RAUC, SHOWN, SLOT, STORE, TRIAL, UPDATE, UpdateBox
from tests.support import clips
from tools.ota.releases import HARDWARE

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(updating.missing()), reason=updating.missing()),
]
FOLLOWS = (CORE, UPLINK, SLOT)
BACK_WITHIN_S = 90
SELFTEST = "endoedge-selftest.service"
ENDOEDGE = ("/opt/endoedge/venv/bin/endoedge",)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, film: Path) -> Iterator[UpdateBox]:
    with updating.updating(tmp_path_factory.mktemp("updates"), film) as box:
        yield box


@pytest.fixture
def box(kept: UpdateBox) -> UpdateBox:
    """From the factory, live."""
    kept.as_installed()
    return kept


def on_trial(box: UpdateBox, version: str, name: str, program: str = "") -> float:
    """The switch was ordered; returns when."""
    box.install(version, name, program)
    return box.switch()


def came(box: UpdateBox, version: str, within_s: float = 60) -> None:
    box.box.wait(lambda: box.live(version), f"{version} is live", within_s)


def hold(box: UpdateBox) -> None:
    assert "as good" in box.updater("mark", "good", "booted")[1]
    box.box.wait(lambda: not box.box.active(TRIAL), "nobody watches any more")


def test_from_the_factory_to_a_release_that_holds_and_stays(box: UpdateBox) -> None:
    assert box.updater("slots") == {"A": ["inactive", "bad"], "B": ["inactive", "bad"]}
    before = {unit: box.box.pid(unit) for unit in (CORE, UPLINK, RAUC)}
    began = on_trial(box, "0.2.0", "A")
    came(box, "0.2.0")
    now = time.monotonic()
    stopped = int(box.box.show(CORE, "ActiveExitTimestampMonotonic")) / 1e6
    print(f"order to live: {now - began:.1f} s; stop of the old core to live: {now - stopped:.1f} s")
    assert box.booted == "A"
    assert all(box.box.pid(unit) != pid for unit, pid in before.items())
    trial = json.loads(box.box.read(SHOWN / "trial"))
    assert (trial["slot"], trial["start"], trial["until_s"] - trial["began_s"]) == ("A", 1, 300)
    assert box.box.active(TRIAL)
    assert box.updater("slots")["A"][0] == "booted"

    hold(box)
    assert box.state == slot.Boot("A", frozenset("A"), trials=1)
    assert box.journal(TRIAL)[-1] == "slot: A held"
    box.box.run("systemctl", "restart", SLOT)
    came(box, "0.2.0")
    assert not box.box.read(SHOWN / "trial")

    box.install("0.3.0", "B")  # the one that runs is not written
    assert box.live("0.2.0")
    box.switch()
    came(box, "0.3.0")
    assert box.booted == "B"
    hold(box)
    box.off()
    print(f"power on to live: {box.boot():.1f} s")
    assert (box.booted, box.status()["version"]) == ("B", "0.3.0")


def test_a_core_that_crashes_brings_the_old_one_back_at_once(box: UpdateBox) -> None:
    began = on_trial(box, "0.2.1", "A", CRASHES)
    box.box.wait(lambda: box.booted == "A", "it is tried")
    box.box.wait(lambda: box.booted == "F", "the old one is back", BACK_WITHIN_S)
    came(box, "0.1.0")
    print(f"order to the old one live again: {time.monotonic() - began:.1f} s")
    assert (box.state.trial, box.state.good, box.state.why) == ("", frozenset(), "its core broke again and again")
    assert not box.box.active(SAFE)
    assert "slot: A did not hold: its core broke again and again; back to F" in box.journal(TRIAL)


def test_one_that_never_says_that_it_holds_goes_back(box: UpdateBox) -> None:
    box.box.drop_in(SLOT, "[Service]\nEnvironment=ENDOEDGE_TRIAL_S=8\n")
    on_trial(box, "0.2.0", "A")
    came(box, "0.2.0")
    until = json.loads(box.box.read(SHOWN / "trial"))["until_s"]
    box.box.wait(lambda: box.booted == "F", "the old one is back", BACK_WITHIN_S)
    came(box, "0.1.0")
    print(f"end of its time to the old one live: {time.clock_gettime(time.CLOCK_BOOTTIME) - until:.1f} s")
    assert box.state.why == "it did not hold within 8 s"


def test_the_updater_can_say_that_it_does_not_hold(box: UpdateBox) -> None:
    on_trial(box, "0.2.0", "A")
    came(box, "0.2.0")
    began = time.monotonic()
    assert "as bad" in box.updater("mark", "bad", "booted")[1]
    box.switch()
    came(box, "0.1.0")
    print(f"a word to the old one live: {time.monotonic() - began:.1f} s")
    assert (box.booted, box.state.why) == ("F", "it was marked bad")


def test_a_self_test_is_ended_by_a_switch_and_not_started_again(box: UpdateBox) -> None:
    box.box.drop_in(SELFTEST, "[Service]\nExecStart=\nExecStart=/usr/bin/sleep 100\n")
    box.updater("order", "selftest")
    box.box.wait(lambda: box.box.show(SELFTEST, "ActiveState") == "activating", "it runs")
    on_trial(box, "0.2.0", "A")
    came(box, "0.2.0")
    assert box.box.show(SELFTEST, "ActiveState") not in ("activating", "active")
    assert box.box.run("systemctl", "list-jobs", "--no-legend", "--plain") == ""


def test_power_cuts_in_a_trial_are_counted(box: UpdateBox) -> None:
    on_trial(box, "0.2.0", "A")
    came(box, "0.2.0")
    for start in (2, 3):
        box.cut()
        box.boot()
        assert box.booted == "A"
        assert json.loads(box.box.read(SHOWN / "trial"))["start"] == start
    box.cut()
    print(f"the fourth power on to the old one live: {box.boot():.1f} s")
    assert (box.booted, box.status()["version"]) == ("F", "0.1.0")
    assert box.state.why == "it was started 3 times and did not hold"


def harm(box: UpdateBox, name: str) -> None:
    image = box.root / STORE / f"{name}.img"
    content = bytearray(image.read_bytes())
    content[len(content) // 2] ^= 1
    image.write_bytes(content)


def test_an_image_with_one_other_byte_stops_nothing(box: UpdateBox) -> None:
    core = box.box.pid(CORE)
    box.install("0.2.0", "A")
    harm(box, "A")
    box.switch()
    box.box.wait(lambda: box.state.trial == "", "it was looked at")
    assert box.box.attempt("test", "-e", "/run/endoedge-update/switch").returncode, "the order was not taken"
    box.box.wait(lambda: box.box.show(updating.SWITCH, "ActiveState") == "failed", "it was not carried out")
    assert (box.booted, box.box.pid(CORE)) == ("F", core)
    assert "its sha256 is not that of what was written" in box.state.why


def test_with_both_slots_bad_the_factory_s_release_runs(box: UpdateBox) -> None:
    for version, name in (("0.2.0", "A"), ("0.3.0", "B")):
        on_trial(box, version, name)
        came(box, version)
        hold(box)
    assert box.state.good == {"A", "B"}
    box.off()
    harm(box, "A")
    harm(box, "B")
    box.boot()
    assert (box.booted, box.status()["version"], box.state.good) == ("F", "0.1.0", frozenset())


def test_back_to_the_one_before(box: UpdateBox) -> None:
    """A slot that held before; and from the first of all to the factory's, which RAUC has no name for."""
    for version, name in (("0.2.0", "A"), ("0.3.0", "B")):
        on_trial(box, version, name)
        came(box, version)
        hold(box)
    assert box.updater("mark", "active", "other")[0] == "app.0"
    box.switch()
    came(box, "0.2.0")
    hold(box)
    assert box.updater("mark", "bad", "other")[0] == "app.1"
    assert "as bad" in box.updater("mark", "bad", "booted")[1]
    box.switch()
    came(box, "0.1.0")
    assert box.booted == "F"


def said(box: UpdateBox) -> dict[str, Any]:
    return dict(json.loads(box.box.read(RUN / "update.json") or "{}"))


def test_the_updater_itself_takes_a_release_from_a_stick(box: UpdateBox) -> None:
    """All of it under its own unit's rules: TUF, RAUC, the switch, the gate with a self-test, and that it holds."""
    stick = box.root / "srv/stick"
    box.publisher.publish(box.signed("0.9.0"), "0.9.0")
    shutil.rmtree(stick, ignore_errors=True)
    shutil.copytree(box.publisher.repository, stick)
    (box.root / ETC / "update/root.json").write_bytes(box.publisher.root)
    site = box.root / ETC / "endoedge.toml"
    before = site.read_text()
    clips.encode(clips.plain(50, 320, 256, (90, 110, 150)), box.root / "srv/room.mkv")  # nobody is examined
    room = '[capture]\nsource = "file"\npath = "/srv/room.mkv"\nfield = "whole"\nloop = true\n'
    after = re.sub(r"\[capture\].*?(?=\[outbox\])", room, before, flags=re.DOTALL)
    site.write_text(after + "[update]\n[update.gate]\nhealthy_s = 5\n")
    try:
        box.box.run("systemctl", "restart", CORE)
        box.box.run("systemctl", "start", UPDATE)
        began = time.monotonic()
        done = box.box.attempt(*ENDOEDGE, "update", "install", "0.9.0", "--from", "/srv/stick", within_s=120)
        assert done.returncode == 0, done.stdout + done.stderr
        print(done.stdout)
        came(box, "0.9.0")
        print(f"a person's word to the new release live: {time.monotonic() - began:.1f} s")
        box.box.wait(lambda: box.state.primary == "A", "it holds", 200)
        box.box.wait(lambda: said(box).get("state") == "idle", "the updater knows it")
        print(f"... until it held: {time.monotonic() - began:.1f} s")
        box.box.wait(lambda: not box.box.active(TRIAL), "nobody watches any more")
        assert box.journal(TRIAL)[-1] == "slot: A held"
        assert (said(box)["version"], said(box)["slot"]) == ("0.9.0", "A")
        assert box.box.active(UPDATE)
    finally:
        site.write_text(before)


def test_who_may_speak_to_rauc(box: UpdateBox) -> None:
    ask = ("busctl", "--address=unix:path=/run/endoedge-update-bus/bus", "get-property", "de.pengutronix.rauc", "/")
    words = (*ask, "de.pengutronix.rauc.Installer", "Compatible")
    assert box.box.run(*words) == f's "{HARDWARE}"'
    for user, allowed in (("endoedge-update", True), ("endoedge-uplink", False), ("endoedge", False)):
        done = box.box.attempt("runuser", "-u", user, "--", *words)
        assert (done.returncode == 0) == allowed, (user, done.stderr)
    # With the socket open to all it is the bus that refuses.
    box.box.run("chmod", "0666", "/run/endoedge-update-bus/bus")
    try:
        assert box.box.attempt("runuser", "-u", "endoedge-uplink", "--", *words).returncode
    finally:
        box.box.run("chmod", "0660", "/run/endoedge-update-bus/bus")


def test_the_units_are_clean(box: UpdateBox) -> None:
    said = box.box.attempt("systemd-analyze", "verify", SLOT, updating.SWITCH, TRIAL, RAUC, "endoedge-update.service")
    assert [line for line in said.stderr.splitlines() if "endoedge" in line] == []
