"""RAUC, which writes the slot that does not run: a second instance on a bus of its own, asked over D-Bus.

Interface `de.pengutronix.rauc.Installer` (RAUC 1.8 to 1.15). One owner; calls block, no main loop is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gi

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402

from edge.errors import UpdateError  # noqa: E402

BUS = "unix:path=/run/endoedge-update-bus/bus"
_NAME, _PATH, _INSTALLER = "de.pengutronix.rauc", "/", "de.pengutronix.rauc.Installer"
_ANSWER_MS = 10_000
_LOOK_S = 0.1
Tell = Callable[[int, str], None]
"""Percent, and what is done just now."""


class Rauc:
    """Raises UpdateError with RAUC's own words."""

    def __init__(self, address: str = BUS) -> None:
        flags = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
        try:
            self._bus = Gio.DBusConnection.new_for_address_sync(address, flags, None, None)
        except GLib.Error as exc:
            raise UpdateError(f"RAUC's bus {address}: {exc.message}") from exc

    def close(self) -> None:
        self._bus.close_sync(None)

    def install(self, bundle: Path, tell: Tell = lambda _percent, _words: None) -> None:
        """Writes the slot that does not run, and has its trial begin. Returns when it is written and synced."""
        self._call("InstallBundle", GLib.Variant("(sa{sv})", (str(bundle), {})))
        said = None
        while self.get("Operation") != "idle":
            percent, words, _depth = self.get("Progress")
            if (percent, words) != said:
                said = percent, words
                tell(*said)
            time.sleep(_LOOK_S)
        if error := self.get("LastError"):
            raise UpdateError(f"{bundle}: {error}")

    def get(self, name: str) -> Any:
        """A property: Operation, Progress, LastError, Compatible, BootSlot."""
        asked = GLib.Variant("(ss)", (_INSTALLER, name))
        return self._call("Get", asked, "org.freedesktop.DBus.Properties")[0]

    def slots(self) -> dict[str, dict[str, Any]]:
        """By their boot names: state (booted, inactive), boot-status, sha256 and size of what was written, and when."""
        return {one["bootname"]: one for _, one in self._call("GetSlotStatus")[0]}

    def _call(self, method: str, arguments: Any = None, interface: str = _INSTALLER) -> Any:
        try:
            answer = self._bus.call_sync(
                _NAME, _PATH, interface, method, arguments, None, Gio.DBusCallFlags.NONE, _ANSWER_MS, None
            )
        except GLib.Error as exc:
            raise UpdateError(f"RAUC: {method}: {Gio.DBusError.get_remote_error(exc) or ''} {exc.message}") from exc
        return answer.unpack()
