"""Real RAUC on a bus of its own, with two files as slots, and bundles for it.

with Slots(tmp_path) as slots: Rauc(slots.address, slots.folder / "status").install(slots.bundle("1.2.0", b"..."))
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from edge.update import slot as slot_program
from tests.support.waiting import wait_for

COMPATIBLE = "endoedge-x86"
SIZE = 4 << 20
_TOOLS = ("rauc", "dbus-daemon", "openssl")


def missing() -> str:
    gone = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(gone)}" if gone else ""


class Signer:
    """Who signs bundles. Its certificate is its own authority."""

    def __init__(self, folder: Path, name: str) -> None:
        self.key, self.certificate = folder / f"{name}.key", folder / f"{name}.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-keyout", self.key, "-out", self.certificate, "-days", "30", "-subj", f"/CN={name}"]
        subprocess.run(command, check=True, capture_output=True)


class Slots:
    def __init__(self, folder: Path) -> None:
        self.folder, self.signer = folder, Signer(folder, "release")
        self.boot, self.address = folder / "boot.json", f"unix:path={folder}/bus"
        self._bus: subprocess.Popen[bytes] | None = None
        self.service: subprocess.Popen[bytes] | None = None
        self._made = 0
        for name in slot_program.SLOTS:
            with self.file(name).open("wb") as file:
                file.truncate(SIZE)
        slot_program.write(self.boot, slot_program.Boot("A", frozenset("A")))
        backend = folder / "backend"
        backend.write_text(
            f'#!/bin/sh\nENDOEDGE_BOOT={self.boot} exec {sys.executable} -EsB {slot_program.__file__} "$@"\n'
        )
        backend.chmod(0o755)
        (folder / "system.conf").write_text(
            f"[system]\ncompatible={COMPATIBLE}\nbootloader=custom\nstatusfile={folder}/status\nmountprefix={folder}/mnt\n"
            f"[keyring]\npath={self.signer.certificate}\n[handlers]\nbootloader-custom-backend={backend}\n"
            f"[slot.app.0]\ndevice={self.file('A')}\ntype=raw\nbootname=A\n"
            f"[slot.app.1]\ndevice={self.file('B')}\ntype=raw\nbootname=B\n"
        )

    def __enter__(self) -> Slots:
        command = ["dbus-daemon", "--session", "--nofork", f"--address={self.address}"]
        with (self.folder / "bus.log").open("ab") as log:
            self._bus = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for((self.folder / "bus").exists, "the bus")
        self.serve()
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.service, self._bus):
            if process is not None:
                process.kill()
                process.wait()

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.img"

    def serve(self, running: str = "A") -> None:
        """RAUC, told which slot runs."""
        command = ["rauc", "-c", str(self.folder / "system.conf"), f"--override-boot-slot={running}", "service"]
        environment = os.environ | {"DBUS_STARTER_BUS_TYPE": "session", "DBUS_SESSION_BUS_ADDRESS": self.address}
        with (self.folder / "rauc.log").open("ab") as log:
            self.service = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        ask = ["rauc", "-c", str(self.folder / "system.conf"), "status"]

        def answers() -> bool:
            return subprocess.run(ask, env=environment, capture_output=True, check=False).returncode == 0

        wait_for(answers, "RAUC")

    def bundle(self, version: str, image: bytes, *, signer: Signer | None = None, compatible: str = COMPATIBLE) -> Path:
        self._made += 1
        content, made = self.folder / f"content-{self._made}", self.folder / f"{version}-{self._made}.raucb"
        content.mkdir()
        (content / "app.img").write_bytes(image)
        (content / "manifest.raucm").write_text(
            f"[update]\ncompatible={compatible}\nversion={version}\n[bundle]\nformat=plain\n[image.app]\nfilename=app.img\n"
        )
        by = signer or self.signer
        command = ["rauc", "--cert", str(by.certificate), "--key", str(by.key), "bundle", str(content), str(made)]
        with contextlib.ExitStack() as tidy:
            tidy.callback(shutil.rmtree, content)
            subprocess.run(command, check=True, capture_output=True)
        return made
