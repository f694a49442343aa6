"""A box with the system's part of updates, and releases for it: real RAUC, real slots, real images. Needs root."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.update import slot
from tests.nspawn import machine
from tests.nspawn.machine import CORE, ETC, OPT, PYTHON, ROOT, RUN, SAFE, UPLINK, Machine
from tools.ota import releases
from tools.ota.releases import HARDWARE, Publisher

SLOT, SWITCH, TRIAL, RAUC, UPDATE = (
    f"endoedge-{name}.service" for name in ("slot", "switch", "trial", "rauc", "update")
)
STORE, SHOWN = Path("var/lib/endoedge-slots"), Path("run/endoedge-slots")
FETCHED = Path("var/lib/endoedge-update/download")
UPDATER = f"{PYTHON} {Path('/') / OPT}/checkout/tests/nspawn/updater.py"
# What makes the updater's unit one of a single order, which outlives a switch.
LEFT_OUT = r"(Type|Exec\w+|\w*Watchdog\w*|Restart\w*|Timeout\w+|Condition\w+|Requires|PartOf)="
# The program of a release: a core that breaks at its start, and all else as it should be.
CRASHES = """#!/opt/endoedge/venv/bin/python
import sys

from edge.cli import main

sys.exit(3 if sys.argv[1:3] == ["run", "core"] else main())
"""


def missing() -> str:
    if reason := machine.missing() or releases.missing():
        return reason
    return "" if Path("/dev/loop-control").exists() else "no loop devices"


class UpdateBox:
    """Owner: the test's thread. `cut` and `boot` are its power."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.root, self._power = folder, root, contextlib.ExitStack()
        self.publisher = Publisher(folder / "publisher")
        keys = root / ETC / "update"
        keys.mkdir()
        shutil.copy(self.publisher.ca, keys / "release-ca.pem")
        text = (ROOT / "systemd/endoedge-rauc.conf").read_text()
        (keys / "rauc.conf").write_text(text.replace("@COMPATIBLE@", HARDWARE))
        (root / STORE).mkdir()
        for name in slot.SLOTS:
            (root / STORE / f"{name}.img").touch()

    # ---------------------------------------------------------------------------------------------- power

    def boot(self) -> float:
        """Returns seconds to live."""
        began = time.monotonic()
        leader = self._power.enter_context(machine.booted(self.root, machine.ours(), self.folder / "console.txt"))
        self.box = Machine(self.root, leader)
        self.box.wait(lambda: self.box.attempt("systemctl", "show", "-P", "Version").returncode == 0, "systemd")
        self.box.wait(lambda: self.live(), "the core is live")
        took = time.monotonic() - began
        self._power.enter_context(machine.controllers(self.box))
        return took

    def cut(self) -> None:
        """The power, not the service."""
        os.kill(self.box.leader, signal.SIGKILL)
        self._power.close()

    def off(self) -> None:
        self._power.close()

    # ------------------------------------------------------------------------------------------- releases

    def signed(self, version: str, program: str = "") -> Path:
        made = self.publisher.folder / f"{version}.raucb"
        if made.exists():
            return made
        tree = self.folder / f"tree-{version}"
        machine.release(tree, version)
        if program:
            (tree / "venv/bin/endoedge").write_text(program)
        return self.publisher.bundle(releases.squash(tree, self.folder / f"{version}.img"), version)

    def bundle(self, version: str, program: str = "") -> str:
        """Its place in the box, as the updater has fetched it."""
        made = self.signed(version, program)
        place = FETCHED / made.name
        self.box.run("install", "-d", "-o", "endoedge-update", f"/{FETCHED}")
        shutil.copy(made, self.root / place)
        self.box.run("chown", "endoedge-update:endoedge", f"/{place}")
        return f"/{place}"

    # -------------------------------------------------------------------------------------- what is asked of it

    def updater(self, *words: str, within_s: float = 60) -> Any:
        """By a service with the updater's rules, as its user."""
        text = (ROOT / "systemd/endoedge-update.service").read_text()
        lines = [line for line in text.splitlines() if not re.match(LEFT_OUT, line)]
        lines.insert(lines.index("[Service]") + 1, f"Type=oneshot\nExecStart={UPDATER} {' '.join(words)}")
        (self.root / "etc/systemd/system/probe-updater.service").write_text("\n".join(lines))
        self.box.run("systemctl", "daemon-reload")
        started = self.box.attempt("systemctl", "start", "probe-updater", within_s=within_s)
        journal = self.journal("probe-updater.service")
        if started.returncode:
            print(self.box.run("journalctl", "--no-pager", "-n", "60"))
        assert started.returncode == 0, journal
        return json.loads(journal[-1])

    def journal(self, unit: str) -> list[str]:
        self.box.run("journalctl", "--sync")
        return self.box.run("journalctl", "-o", "cat", f"_SYSTEMD_UNIT={unit}").splitlines()

    def install(self, version: str, name: str, program: str = "") -> None:
        """Written to that slot, and on trial from the next start on."""
        assert self.updater("install", self.bundle(version, program)) == name
        assert self.updater("activate", name) == "done"
        assert self.state.trial == name

    def switch(self) -> float:
        """The order; returns when it was given."""
        began = time.monotonic()
        self.box.run("runuser", "-u", "endoedge-update", "--", "touch", "/run/endoedge-update/switch")
        return began

    # ------------------------------------------------------------------------------------------- how it is

    @property
    def state(self) -> slot.Boot:
        return slot.read(self.root / STORE / "boot.json")

    @property
    def booted(self) -> str:
        return self.box.read(SHOWN / "booted").strip()

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.box.read(RUN / "status.json") or "{}"))

    def live(self, version: str = "") -> bool:
        status = self.status()
        ours = status.get("state") == "live" and status.get("pid") == self.box.pid(CORE) and self.box.active(CORE)
        return ours and version in ("", status["version"])

    def as_installed(self) -> None:
        """The factory's release runs, and nothing else was ever tried."""
        for folder in (self.root / "etc/systemd/system").glob("endoedge-*.service.d"):
            shutil.rmtree(folder)
        (self.root / STORE / "boot.json").unlink(missing_ok=True)
        (self.root / ETC / "update/root.json").unlink(missing_ok=True)
        self.box.run("systemctl", "daemon-reload")
        self.box.run("systemctl", "stop", TRIAL, SAFE, UPDATE)
        self.box.run("systemctl", "reset-failed")
        self.box.run("systemctl", "restart", SLOT)
        self.box.run("systemctl", "start", CORE, UPLINK, RAUC, "endoedge.target")
        self.box.wait(lambda: self.live("0.1.0"), "the factory's release is live")


@contextlib.contextmanager
def updating(folder: Path, phantom: Path) -> Iterator[UpdateBox]:
    with machine.furnished(folder, phantom) as root:
        box = UpdateBox(folder, root)
        try:
            box.boot()
            yield box
        finally:
            box.off()
