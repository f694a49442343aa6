"""RAUC, which writes the slot that does not run: a second instance on a bus of its own, asked over D-Bus.

Interface `de.pengutronix.rauc.Installer` (RAUC 1.8 to 1.15). One owner; calls block, no main loop is needed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gi

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402

from edge.errors import UpdateError  # noqa: E402

_NAME, _PATH, _INSTALLER = "de.pengutronix.rauc", "/", "de.pengutronix.rauc.Installer"
_NOBODY = "org.freedesktop.DBus.Error.ServiceUnknown"
_ANSWER_MS = 10_000
_LOOK_S = 0.1
_NEVER = ("signature", "Signature", "ompatible")  # in RAUC's words: another try would end the same way
Tell = Callable[[int, str], None]
"""Percent, and what is done just now."""


class Rauc:
    """Raises UpdateError with RAUC's own words."""

    def __init__(self, address: str, status: Path) -> None:
        """`status`: RAUC's status file, which says what is in each slot."""
        self._status = status
        flags = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
        try:
            self._bus = Gio.DBusConnection.new_for_address_sync(address, flags, None, None)
        except GLib.Error as exc:
            raise UpdateError(f"RAUC's bus {address}: {exc.message}") from exc

    def close(self) -> None:
        self._bus.close_sync(None)

    def install(self, bundle: Path, tell: Tell = lambda _percent, _words: None) -> str:
        """Writes the slot that does not run, and returns its name when it is written and synced. UpdateError has the
        code "refused" when RAUC will never take that bundle."""
        before = {name: slot.get("installed.count") for name, slot in self.slots().items()}
        self._call("InstallBundle", GLib.Variant("(sa{sv})", (str(bundle), {})))
        said = None
        while self.get("Operation") != "idle":
            percent, words, _depth = self.get("Progress")
            if (percent, words) != said:
                said = percent, words
                tell(*said)
            time.sleep(_LOOK_S)
        if error := self.get("LastError"):
            refused = any(word in error for word in _NEVER)
            raise UpdateError(f"{bundle}: {error}", "refused" if refused else "")
        written = [name for name, slot in self.slots().items() if slot.get("installed.count") != before.get(name)]
        if len(written) != 1:
            raise UpdateError(f"{bundle}: RAUC says that it wrote {len(written)} slots, expected one")
        self._sync()
        return written[0]

    def _sync(self) -> None:
        """RAUC syncs an image, but not the name of its new status file: if the power went now, the old one would be
        there, which knows nothing of that image."""
        for path in (self._status, self._status.parent):
            try:
                number = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(number)
                finally:
                    os.close(number)
            except OSError as exc:
                raise UpdateError(f"{path}: cannot be synced: {exc.strerror}") from exc

    def activate(self, name: str) -> None:
        """That slot is tried at the next start."""
        path = next((path for path, slot in self._all() if slot.get("bootname") == name), "")
        self._call("Mark", GLib.Variant("(ss)", ("active", path)))

    def accept(self) -> None:
        """The slot that runs holds."""
        self._call("Mark", GLib.Variant("(ss)", ("good", "booted")))

    def reject(self) -> None:
        """The slot that runs is bad: the other one is started next."""
        self._call("Mark", GLib.Variant("(ss)", ("bad", "booted")))

    def get(self, name: str) -> Any:
        """A property: Operation, Progress, LastError, Compatible, BootSlot."""
        asked = GLib.Variant("(ss)", (_INSTALLER, name))
        return self._call("Get", asked, "org.freedesktop.DBus.Properties")[0]

    def slots(self) -> dict[str, dict[str, Any]]:
        """By their boot names: state (booted, inactive), boot-status, sha256 and size of what was written, and when."""
        return {slot["bootname"]: slot for _, slot in self._all()}

    def _all(self) -> list[tuple[str, dict[str, Any]]]:
        return list(self._call("GetSlotStatus")[0])

    def _call(self, method: str, arguments: Any = None, interface: str = _INSTALLER) -> Any:
        try:
            answer = self._bus.call_sync(
                _NAME, _PATH, interface, method, arguments, None, Gio.DBusCallFlags.NONE, _ANSWER_MS, None
            )
        except GLib.Error as exc:
            if Gio.DBusError.get_remote_error(exc) == _NOBODY:
                raise UpdateError("RAUC does not run: systemctl status endoedge-rauc") from exc
            Gio.DBusError.strip_remote_error(exc)
            raise UpdateError(f"RAUC: {method}: {exc.message}") from exc
        return answer.unpack()
