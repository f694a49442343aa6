"""One virtual machine: QEMU's command line, its console in a file, its words as they come."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from edge.errors import EdgeError
from tools.twin import needs, words
from tools.twin.image import Image
from tools.twin.words import Word

MEMORY_MIB = 2048
# The guest's clock counts its own instructions, one a nanosecond, so that it sees a processor of 10^9 instructions a
# second, however slow the host is: no watchdog of a second barks because somebody else had the host's processor.
# While the guest sleeps its clock is the host's. All that the emulator knows, without the "fast string" instructions:
# those it does byte by byte, and both the kernel and libc would choose them for every copy of a picture.
TCG = ("-accel", "tcg,thread=single,tb-size=512", "-icount", "shift=0,sleep=on", "-cpu", "max,-erms,-fsrm", "-smp", "1")
# A machine that is virtual itself may offer that register, and not let it be set.
KVM = ("-accel", "kvm", "-cpu", "host,-arch-capabilities", "-smp", "2")
_APPEND = "root=/dev/vda rw console=ttyS0 quiet mitigations=off clearcpuid=rep_good audit=0"
_APPEND += " module_blacklist=iTCO_wdt"  # the chip set's own watchdog, which QEMU does not let reset anything
_APPEND += " net.ifnames=0"  # no card changes its name while it is set up
_STOP_WITHIN_S = 5.0


class Beside(NamedTuple):
    """What a machine has beside the twin's own. `disk`: instead of a scratch one; what is written to it stays, and a
    kill of QEMU is a power cut: the disk has what it was given, and what the guest had not given it yet is lost."""

    disk: Path | None = None
    sticks: tuple[Path, ...] = ()
    network: bool = False  # the host is 10.0.2.2
    restarts: bool = False  # a reset is one; without it, it is the machine's end


ALONE = Beside()


def command(image: Image, checkout: Path, mode: str, kvm: bool, beside: Beside = ALONE) -> list[str]:
    """Everything but the console and the port."""
    # What is written to a scratch file is gone with it: every boot begins with the same disk.
    disk = f"file={_quoted(beside.disk or image.disk)},format=raw,if=virtio,snapshot={'off' if beside.disk else 'on'}"
    sticks = [part for number, stick in enumerate(beside.sticks) for part in _stick(number, stick)]
    return [
        needs.program("qemu-system-x86_64"),
        *(KVM if kvm else TCG),
        *("-machine", "q35", "-m", f"{MEMORY_MIB}M", "-nodefaults", "-display", "none"),
        *(() if beside.restarts else ("-no-reboot",)),
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", f"{_APPEND} {words.MODE}={mode}"),
        *("-drive", disk),
        *("-drive", f"file={_quoted(checkout)},format=raw,if=virtio,readonly=on"),
        *("-device", "virtio-rng-pci", "-device", "virtio-serial-pci"),
        *("-device", "i6300esb", "-watchdog-action", "reset"),
        *("-nic", "user,model=virtio-net-pci" if beside.network else "none"),
        *(("-device", "qemu-xhci", *sticks) if sticks else ()),
    ]


def _stick(number: int, image: Path) -> tuple[str, ...]:
    drive = f"file={_quoted(image)},format=raw,if=none,id=stick{number},readonly=on"
    return ("-drive", drive, "-device", f"usb-storage,drive=stick{number}")


def interactive(image: Image, checkout: Path, kvm: bool) -> int:
    """A shell on the console, until the guest powers off or Ctrl-A X. QEMU's exit code."""
    return subprocess.run([*command(image, checkout, "shell", kvm), "-serial", "mon:stdio"]).returncode


class Machine:
    """A running guest that plays scenarios. Use as a context: at its end the guest is gone, whatever it did."""

    def __init__(
        self,
        image: Image,
        checkout: Path,
        names: list[str],
        console: Path,
        kvm: bool,
        beside: Beside = ALONE,
    ) -> None:
        self._command = command(image, checkout, f"run:{','.join(names)}", kvm, beside)
        self._console = console
        self._folder = Path(tempfile.mkdtemp(prefix="twin-"))  # short: a socket's path has 107 bytes at most
        self._rest = b""
        self.off = False  # it ended its side of the port

    def __enter__(self) -> Machine:
        path = self._folder / "port"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(1)
        port = f"socket,id=results,path={_quoted(path)}"
        console = f"file,id=console,path={_quoted(self._console)}"
        channel = ("-chardev", port, "-device", f"virtserialport,chardev=results,name={words.PORT}")
        # The second and the third UART are wired to each other: the box's console, and the person who types into it.
        wire = f"path={_quoted(self._folder / 'wire')}"
        uarts = ["-chardev", console, "-serial", "chardev:console"]
        uarts += ["-chardev", f"socket,id=box,{wire},server=on,wait=off", "-serial", "chardev:box"]
        uarts += ["-chardev", f"socket,id=person,{wire}", "-serial", "chardev:person"]
        self._qemu = subprocess.Popen(
            [*self._command, *channel, *uarts],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        listener.settimeout(1.0)
        with listener:
            self._port = self._accepted(listener)
        self._ready = selectors.DefaultSelector()
        self._ready.register(self._port, selectors.EVENT_READ)
        return self

    def __exit__(self, *_: object) -> None:
        self._port.close()
        self._ready.close()
        try:
            self._qemu.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._qemu.kill()
            self._qemu.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def cut(self) -> None:
        """Its power, now."""
        self._qemu.kill()
        self._qemu.wait()

    def next(self, deadline: float) -> Word | None:
        """What the guest says next. None when `deadline` (of the monotonic clock) has passed, or the machine is off."""
        while b"\n" not in self._rest:
            if not self._ready.select(max(0.0, deadline - time.monotonic())):
                return None
            read = self._port.recv(1 << 16)
            if not read:
                self.off = True
                return None
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        word: Word = words.decode(line)
        return word

    def _accepted(self, listener: socket.socket) -> socket.socket:
        """QEMU connects before it starts the guest. EdgeError with its own words when it does not start at all."""
        while self._qemu.poll() is None:
            with contextlib.suppress(TimeoutError):
                return listener.accept()[0]
        assert self._qemu.stderr is not None
        raise EdgeError(f"QEMU does not start: {self._qemu.stderr.read().decode(errors='replace').strip()}")


def _quoted(path: Path) -> str:
    """In QEMU's option lists a comma is written twice."""
    return os.fspath(path).replace(",", ",,")
