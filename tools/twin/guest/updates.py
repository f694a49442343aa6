"""A box that updates itself: made once, on a disk that is kept; then looked at, and told what a person tells it."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec

from edge import status
from edge.errors import UpdateError
from edge.status import CoreStatus
from edge.types import SignalState, Struct
from edge.update import slot, slot_image, state
from edge.updating import STATUS, UpdateStatus
from tools.twin.elsewhere import CHECKOUT
from tools.twin.guest import box, vivid
from tools.twin.guest.vivid import HD_25, Hdmi
from tools.twin.words import Runs

GIVEN = CHECKOUT / "twin"  # by the host: whose releases are taken, and from where
TRUST, STORE, SHOWN = Path("/etc/endoedge/update"), Path("/var/lib/endoedge-slots"), Path("/run/endoedge-slots")
MEMORY = Path("/var/lib/endoedge-update/state.json")
PARTS = ("slot", "trial", "bus", "rauc", "update", "switch", "selftest", "core", "uplink")
HOST, ADDRESS = "10.0.2.2", "10.0.2.15/24"  # as QEMU's user network has it
STICK = Path("/media/stick")
_CARDRESET = 0x20  # linux/watchdog.h
# The gate, shorter than a site's: what is tried here is the road, not the release.
GATE = {"healthy_s": 10.0}
TRIAL_S = 180
FRESH_NS = 5_000_000_000
WATCHDOG_S = 10  # a third of a box's: an emulated machine hangs slowly


class Given(Struct, frozen=True, kw_only=True):
    """`twin/updates.json`. `port`: of the host's web server; 0: releases come on sticks."""

    port: int
    versions: tuple[str, ...]  # in this order
    whole: str = ""  # the one of them that is whole in itself


def given() -> Given:
    return msgspec.json.decode((GIVEN / "updates.json").read_bytes(), type=Given)


def become_a_box(camera: bool) -> None:
    """Whatever was done before its power went. Without a camera it says so, and is looked at all the same."""
    if given().port:
        _join_network()
    if not (box.SYSTEM / "system").exists():
        box.install()
        _install_updates()
    if camera:
        Hdmi().load(timings=HD_25, plugged=False)
    box.run("systemctl", "start", "endoedge.target")


def _install_updates() -> None:
    """As tools/install.sh --release-ca FILE --tuf-root FILE; its last step last."""
    more: dict[str, dict[str, Any]] = {
        "update": {"url": f"http://{HOST}:{port}" if (port := given().port) else "", "spare_mib": 16},
        "update.gate": GATE,
    }
    box.write_site(more=more)
    TRUST.mkdir(parents=True, exist_ok=True)
    for name in ("release-ca.pem", "root.json"):
        box.run("install", "-m", "644", str(GIVEN / name), str(TRUST / name))
    rauc = (box.UNITS / "endoedge-rauc.conf").read_text()
    (TRUST / "rauc.conf").write_text(rauc.replace("@COMPATIBLE@", f"endoedge-{platform.machine()}-debian12"))
    for name in slot.SLOTS:
        (STORE / f"{name}.img").touch()
    _drop_in("system/endoedge-slot.service.d", f"[Service]\nEnvironment=ENDOEDGE_TRIAL_S={TRIAL_S}\n")
    _drop_in("system.conf.d", f"[Manager]\nRuntimeWatchdogSec={WATCHDOG_S}\n")
    box.run("systemctl", "daemon-reexec")
    box.run("systemctl", "enable", "endoedge.target")
    box.run("sync")
    (box.SYSTEM / "system").write_text("1\n")
    box.run("sync")


def _drop_in(folder: str, text: str) -> None:
    path = Path("/etc/systemd") / folder / "twin.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _join_network() -> None:
    vivid.wait_for(lambda: bool(_interfaces()), "a network card", 30)
    box.run("ip", "address", "replace", ADDRESS, "dev", _interfaces()[0])
    box.run("ip", "link", "set", _interfaces()[0], "up")


def _interfaces() -> list[str]:
    return [path.name for path in Path("/sys/class/net").iterdir() if path.name != "lo"]


def mount_stick(name: str) -> Path:
    """By its label, as a person would; where it is mounted."""
    device, place = Path("/dev/disk/by-label") / name, STICK / name.lower()
    vivid.wait_for_path(device, 60)
    place.mkdir(parents=True, exist_ok=True)
    box.run("mount", "-o", "ro", str(device), str(place))
    return place


def reset_by_watchdog() -> str:
    """Its name, when its timer ended the boot before this one."""
    for folder in Path("/sys/class/watchdog").iterdir():
        if int((folder / "bootstatus").read_text()) & _CARDRESET:
            return (folder / "identity").read_text().strip()
    return ""


def booted_at() -> float:
    """By the wall clock."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


# ------------------------------------------------------------------------------------------------ what it is told


def asks(*words: str) -> str:
    """A person's `endoedge update ...`: what it says. RuntimeError when it refuses."""
    return box.run(str(box.COMMAND), "update", *words)


def agrees(version: str) -> subprocess.Popen[bytes]:
    """... without waiting for the end of it."""
    return subprocess.Popen(
        [str(box.COMMAND), "update", "install", version], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


# ------------------------------------------------------------------------------------------------ what is seen of it


def said() -> UpdateStatus | None:
    return status.read(box.RUN_DIR / STATUS, UpdateStatus)


def memory() -> state.Memory | None:
    try:
        return state.load(MEMORY) if MEMORY.exists() else None
    except UpdateError:
        return None


def booted() -> str:
    try:
        return (SHOWN / "booted").read_text().strip()
    except OSError:
        return ""


def on_trial() -> dict[str, Any] | None:
    """Which start it is of how many."""
    try:
        return dict(json.loads((SHOWN / "trial").read_text()))
    except OSError:
        return None


def boot() -> slot.Boot:
    return slot.read(STORE / "boot.json")


def core() -> CoreStatus | None:
    """What it says now: not what one said that is gone."""
    found = status.read(box.RUN_DIR / "status.json", CoreStatus)
    fresh = found is not None and time.monotonic_ns() - found.updated_ns < FRESH_NS
    return found if found is not None and fresh and Path(f"/proc/{found.pid}").exists() else None


def live() -> CoreStatus | None:
    """The core, when it is live now, with pictures."""
    found = core()
    return found if found is not None and found.state is SignalState.LIVE and found.fps > 0 else None


class Look:
    """Reads an image once for each time that it was written."""

    def __init__(self) -> None:
        self._digest = ("", 0.0, "")

    def now(self) -> Runs:
        runs, found, known, told = booted(), core(), memory(), said()
        if runs != booted():
            found = None  # it is just being switched
        return Runs(
            state=known.state if known else "",
            booted=runs,
            sha256=self._sha256(runs) if runs in slot.SLOTS and found else "",
            version=found.version if found else "",
            waits=tuple(one.code for one in told.obstacles) if told else (),
            refused=tuple(one.version for one in known.refused) if known else (),
            offered=known.offer.version if known and known.offer else "",
        )

    def _sha256(self, name: str) -> str:
        """Of what the kernel has mounted: of the file, so long as RAUC says that it wrote it."""
        image = STORE / f"{name}.img"
        written = image.stat().st_mtime
        if self._digest[:2] != (name, written):
            size = int(slot_image.written(STORE / "rauc.status", f"slot.app.{slot.SLOTS.index(name)}")["size"])
            digest = hashlib.sha256()
            with image.open("rb") as file:
                while size and (piece := file.read(min(size, 1 << 20))):
                    digest.update(piece)
                    size -= len(piece)
            self._digest = (name, written, digest.hexdigest())
        return self._digest[2]
