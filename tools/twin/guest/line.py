"""The console's lines, and a person at their other end.

A UART: QEMU wires the guest's second port to its third. A USB cable: the kernel's own `dummy_hcd` joins a gadget
(`g_serial`, /dev/ttyGS0, the box's end) to a host of the same machine (`cdc-acm`, /dev/ttyACM0, the laptop's end).
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from serial import Serial, SerialException

from edge.console import tokens
from edge.console.editor import PROMPT
from tools.service_token import RIGHTS, make_keys, sign
from tools.twin.guest import box, vivid
from tools.twin.guest.twin import expect

UART, UART_FAR_END = Path("/dev/ttyS1"), Path("/dev/ttyS2")
USB, USB_FAR_END = Path("/dev/ttyGS0"), Path("/dev/ttyACM0")
KEYS = Path("/etc/endoedge/service-keys")
STATE = Path("/var/lib/endoedge-console")
_PORT_OFF = Path("/sys/bus/usb/devices/usb1/1-0:1.0/usb1-port1/disable")  # of the laptop's hub: no power, no cable
WITHIN_S = 60.0


class Person:
    """At the far end, with a terminal program. Raises NotHeldError when the console does not answer."""

    def __init__(self, path: Path) -> None:
        vivid.wait_for_path(path, WITHIN_S)
        self._line = Serial(str(path), 115_200, timeout=0.05, write_timeout=WITHIN_S)
        self._unread = b""

    def close(self) -> None:
        self._line.close()

    def types(self, keys: bytes) -> None:
        self._line.write(keys)

    def at_the_prompt(self) -> None:
        """Enter, until there is one."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            self.types(b"\r")
            if self._until(PROMPT, 2.0).endswith(PROMPT) and not self._until(PROMPT, 1.0):
                return  # and nothing follows
        expect(False, "no prompt")

    def asks(self, command: str) -> tuple[str, float]:
        """What the console says to it, and after how many seconds its prompt was back."""
        began = time.monotonic()
        self.types(command.encode() + b"\r")
        said = self._until(PROMPT, WITHIN_S)
        expect(said.endswith(PROMPT), f"{command}: no prompt after {said[-200:]!r}")
        return said.decode("ascii").removesuffix(PROMPT.decode()), time.monotonic() - began

    def answer(self, mark: bytes) -> bytes:
        """What comes until a line that begins with `mark` has ended."""
        said = self._until(mark, WITHIN_S)
        return said[said.rfind(mark) :] + self._until(b"\n", WITHIN_S)

    def logs_in(self, key: Path, device: str) -> str:
        challenge, _ = self.asks("login")
        nonce = re.search(r"nonce +([0-9a-f]{32})", challenge)
        expect(nonce is not None, f"login: {challenge}")
        assert nonce is not None
        now = int(time.time())
        claims = tokens.Claims(
            device=device, nonce=nonce[1], name="A. Engineer", issued=now, not_after=now + 3600, rights=RIGHTS
        )
        return self.asks(f"login {sign(key, '', claims)}")[0]

    def _until(self, wanted: bytes, within_s: float) -> bytes:
        """What came, up to and with that; less when it did not come in time, or the line went away."""
        deadline = time.monotonic() + within_s
        while wanted not in self._unread and time.monotonic() < deadline:
            try:
                self._unread += self._line.read(max(1, self._line.in_waiting))
            except (SerialException, OSError):
                break
        end = self._unread.find(wanted) + len(wanted) if wanted in self._unread else len(self._unread)
        said, self._unread = self._unread[:end], self._unread[end:]
        return said


def make_service_key() -> Path:
    """A private key, whose public one the box trusts: the one that is there, or a new one."""
    stem = Path("/root/service")
    if not stem.with_suffix(".key").exists():
        KEYS.mkdir(parents=True, exist_ok=True)
        _, pem = make_keys(stem, "")
        pem.rename(KEYS / pem.name).chmod(0o644)
    return stem.with_suffix(".key")


def make_usb_cable() -> None:
    """A gadget's port, plugged in."""
    box.run("modprobe", "dummy_hcd")
    box.run("modprobe", "g_serial")
    vivid.wait_for_path(USB, WITHIN_S)


def pull_usb_cable() -> None:
    _PORT_OFF.write_text("1")


def plug_usb_cable() -> None:
    _PORT_OFF.write_text("0")


def remove_usb_gadget() -> None:
    box.run("modprobe", "-r", "g_serial")
