"""A box on a desk: the real slot program with real mounts, RAUC on a bus of its own and the real updater, in a folder.

In systemd's place stand a few lines (`carry_out`): who is to run is started from the release that the slot program
chose, its orders are carried out, and a trial's time is looked at. Needs root, for the mounts.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from edge import status, updating
from edge.errors import UpdateError
from edge.updating import STATUS, Answer, UpdateStatus, Verb
from tools.ota import releases
from tools.ota.releases import CHANNEL, HARDWARE, ROOT

UPDATE = "update"
BUS, RAUC = "bus", "rauc"
STARTS_WITHIN_S = 30.0
_SLOT = ("slot.py", "slot_image.py")


def missing() -> str:
    if os.geteuid():
        return "mounting releases needs root"
    return releases.missing()


class Desk:
    """Owner: one thread. What it starts is gone after `close`."""

    def __init__(
        self,
        root: Path,
        ca: Path,
        root_keys: bytes,
        installed: Path,
        site: str,
        parts: Mapping[str, tuple[str, ...]],
        trial_s: float = 300.0,
    ) -> None:
        """`installed`: the release's folder that was installed first. `site`: endoedge.toml without `[update.places]`
        and `run_dir`. `parts`: what runs of a release, beside the updater: name → arguments of `endoedge`."""
        self.root, self.file, self.run_dir = root, root / "etc/endoedge/endoedge.toml", root / "run/endoedge"
        self.store, self.running = root / "var/lib/endoedge-slots", root / "run/endoedge-slots"
        self.state, self.orders = root / "var/lib/endoedge-update", root / "run/endoedge-update"
        self.wishes, self.system = root / "run/endoedge-wishes", root / "usr/lib/endoedge"
        self.address = f"unix:path={root}/bus"
        self._trial_s = trial_s
        self.parts = {UPDATE: ("run", "update"), **parts}
        self.environment: dict[str, str] = {}  # more of it, for all that is started
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.switching: Callable[[], None] = lambda: None  # called right before the old one is stopped
        self.switched: list[tuple[str, float]] = []  # slot, and seconds from the order to the start of all
        for folder in (self.file.parent / "update", self.run_dir, self.store, self.running, self.state):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.orders, self.wishes, self.system, root / "opt/endoedge"):
            folder.mkdir(parents=True, exist_ok=True)
        for name in _SLOT:
            shutil.copy(ROOT / "edge/update" / name, self.system / name)
        (root / "opt/endoedge/current").unlink(missing_ok=True)
        (root / "opt/endoedge/current").symlink_to(installed)
        shutil.copy(ca, self.file.parent / "update/release-ca.pem")
        (self.file.parent / "update/root.json").write_bytes(root_keys)
        self._configure(site)

    def _configure(self, site: str) -> None:
        places = {
            "state": self.state,
            "slots": self.store,
            "running": self.running,
            "orders": self.orders,
            "wishes": self.wishes,
            "bus": self.address,
            "root_keys": self.file.parent / "update/root.json",
            "rauc": self.file.parent / "update/rauc.conf",
        }
        table = "".join(f'{name} = "{place}"\n' for name, place in places.items())
        self.file.write_text(f'run_dir = "{self.run_dir}"\n{site}\n[update.places]\n{table}')
        backend = self.system / "slot"
        backend.write_text(
            f"#!/bin/sh\nexport ENDOEDGE_ROOT={self.root} ENDOEDGE_TRIAL_S={self._trial_s}\n"
            f'exec /usr/bin/python3 -EsB {self.system}/slot.py "$@"\n'
        )
        backend.chmod(0o755)
        slots = "".join(
            f"[slot.app.{number}]\ndevice={self.store}/{name}.img\ntype=raw\nbootname={name}\n"
            for number, name in enumerate("AB")
        )
        (self.file.parent / "update/rauc.conf").write_text(
            f"[system]\ncompatible={HARDWARE}\nbootloader=custom\nstatusfile={self.store}/rauc.status\n"
            f"mountprefix={self.root}/mnt\nactivate-installed=false\n"
            f"[keyring]\npath={self.file.parent}/update/release-ca.pem\n"
            f"[handlers]\nbootloader-custom-backend={backend}\n{slots}"
        )
        for name in "AB":
            (self.store / f"{name}.img").touch()

    # ------------------------------------------------------------------------------------------ processes

    def slot(self, *arguments: str) -> int:
        """The system's program."""
        with self._log("slot") as log:
            return subprocess.run([self.system / "slot", *arguments], stdout=log, stderr=log, check=False).returncode

    def boot(self) -> None:
        """As a machine does. UpdateError: not even the release that was installed first can be started."""
        for path in (self.orders / "switch", self.orders / "selftest", self.running / "booted", self.running / "trial"):
            path.unlink(missing_ok=True)
        if self.slot("up"):
            raise UpdateError("no release can be started")
        self._serve()
        self.start(*self.parts)

    def _serve(self) -> None:
        if BUS not in self.processes:
            (self.root / "bus").unlink(missing_ok=True)
            self._start(BUS, "dbus-daemon", "--session", "--nofork", f"--address={self.address}")
            self.wait((self.root / "bus").exists, "the bus")
        self.end(RAUC)
        chosen = f"--override-boot-slot={self.booted if self.booted in 'AB' else '_external_'}"
        environment = {"DBUS_STARTER_BUS_TYPE": "session", "DBUS_SESSION_BUS_ADDRESS": self.address}
        # As its unit does: a bundle that it has mounted goes with it, however it ends.
        command = (
            "unshare",
            "--mount",
            "--propagation=slave",
            "rauc",
            "-c",
            str(self.file.parent / "update/rauc.conf"),
            chosen,
            "service",
        )
        self._start(RAUC, *command, **environment)

    def start(self, *names: str) -> None:
        """Of the release that runs."""
        for name in names:
            if name in self.parts and self.processes.get(name) is None:
                python = self.running / "current/venv/bin/python"
                self._start(name, str(python), "-m", "edge.cli", *self.parts[name], "-c", str(self.file))

    def end(self, *names: str, how: int = signal.SIGTERM, within_s: float = 10.0) -> None:
        """All at once, then waited for."""
        found = [self.processes.pop(name) for name in names if name in self.processes]
        for process in found:
            process.send_signal(how)
            process.send_signal(signal.SIGCONT)  # as systemd does
        for process in found:
            try:
                process.wait(within_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def keep_up(self) -> list[str]:
        """Starts again what has ended by itself, as systemd does; says what that was."""
        ended = [name for name, process in self.processes.items() if process.poll() is not None]
        for name in ended:
            del self.processes[name]
        if BUS in ended or RAUC in ended:
            self._serve()
        self.start(*ended)
        return ended

    def close(self) -> None:
        self.end(*self.processes)
        for name in "AB":
            subprocess.run(["umount", "--lazy", self.running / name], capture_output=True, check=False)

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, name: str, *command: str, **environment: str) -> None:
        with self._log(name) as log:
            environment = {**os.environ, **self.environment, **environment}
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        self.processes[name] = process

    @contextlib.contextmanager
    def _log(self, name: str) -> Iterator[int]:
        number = os.open(self.root / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            yield number
        finally:
            os.close(number)

    # ------------------------------------------------------------------------------------------ in systemd's place

    def carry_out(self, test: Callable[[], None] = lambda: None) -> None:
        """The updater's orders, and the trial's time. `test` makes a self-test."""
        if (self.orders / "selftest").exists():
            (self.orders / "selftest").unlink()
            test()
        if self._trial_over():
            if not self.slot("back", "it did not hold in time"):
                self.switch()
        elif (self.orders / "switch").exists():
            (self.orders / "switch").unlink()
            self.switch()

    def switch(self) -> None:
        """Verified and mounted before anything is stopped; not at all, where that cannot be."""
        began_s = time.monotonic()
        if self.slot("ready"):
            return
        self.switching()
        self.end(*self.parts)
        self.slot("down")
        if self.slot("up"):
            raise UpdateError("no release can be started")
        self._serve()
        self.start(*self.parts)
        self.switched.append((self.booted, time.monotonic() - began_s))

    def _trial_over(self) -> bool:
        try:
            trial = json.loads((self.running / "trial").read_text())
        except (OSError, ValueError):
            return False
        now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        goes_on = self.boot_state()["trial"] == trial["slot"]  # and not of one that held
        return bool(goes_on and now_s >= trial["until_s"])

    # ------------------------------------------------------------------------------------------ what is seen of it

    @property
    def booted(self) -> str:
        return (self.running / "booted").read_text().strip()

    @property
    def version(self) -> str:
        """Of the release that runs, as its own file says."""
        return str(json.loads((self.running / "current/release.json").read_text())["version"])

    def boot_state(self) -> dict[str, object]:
        try:
            found: dict[str, object] = json.loads((self.store / "boot.json").read_text())
        except (FileNotFoundError, ValueError):  # as the slot program takes it
            return {"primary": "F", "good": [], "trial": "", "left": 0, "why": ""}
        return found

    def said(self) -> UpdateStatus | None:
        return status.read(self.run_dir / STATUS, UpdateStatus)

    def ask(self, verb: Verb, version: str = "", source: str = "") -> str:
        return updating.wish(self.wishes, verb, "desk", version, source)

    def answer(self, id_: str) -> Answer | None:
        now = self.said()
        found = [one for one in now.answers if one.id == id_ and one.done] if now else []
        return found[0] if found else None

    def wait(self, condition: Callable[[], object], what: str, within_s: float = STARTS_WITHIN_S) -> None:
        """Carries out orders meanwhile. UpdateError: it did not come."""
        ends_s = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > ends_s:
                said = self.said()
                raise UpdateError(
                    f"{what}: not within {within_s:.0f} s: {msgspec.json.encode(said).decode() if said else ''}"
                )
            time.sleep(0.05)


def site(address: str, more: str = "", gate: str = "healthy_s = 1.0", consent: bool = False) -> str:
    """A box that only updates itself: its core is not started."""
    return (
        'device = "desk"\npipeline = "colonoscopy"\n'
        '[capture]\nsource = "phantom"\n[uplink]\nhost = "127.0.0.1"\n'
        f'[update]\nchannel = "{CHANNEL}"\nurl = "{address}"\nspare_mib = 1\n'
        f"consent = {str(consent).lower()}\n{more}\n"
        f"[update.gate]\n{gate}\n"
    )
