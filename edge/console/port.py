"""The serial line. The only file that imports `serial`.

Every call returns at once. A line that goes away (a gadget's cable, an adapter) is opened again, with growing pauses.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import termios
from typing import TYPE_CHECKING

from edge.clock import Clock

if TYPE_CHECKING:
    from serial import Serial

log = logging.getLogger(__name__)

REOPEN_S, REOPEN_MOST_S = 0.25, 5.0
_READ_BYTES = 4096
_BUSY = (errno.EAGAIN, errno.EINTR)


class Port:
    """Owner: the console's thread."""

    def __init__(self, name: str, baud: int, clock: Clock) -> None:
        self._name, self._baud, self._clock = name, baud, clock
        self._serial: Serial | None = None
        self._pause_s, self._next_ns = REOPEN_S, 0
        self._carrier: bool | None = None
        self._told = ""

    @property
    def fd(self) -> int | None:
        """None while the line is not there."""
        return self._serial.fileno() if self._serial else None

    def open(self) -> bool:
        """True when it was opened just now."""
        if self._serial or self._clock.now_ns() < self._next_ns:
            return False
        from serial import Serial, SerialException

        try:
            # `exclusive` keeps off others that ask for it, too; root's getty has to be told (docs/console.md).
            self._serial = Serial(self._name, self._baud, timeout=0, write_timeout=0, exclusive=True)
        except (SerialException, OSError, ValueError, termios.error) as exc:
            self._tell(f"{self._name}: cannot be opened: {exc}")
            self._later()
            return False
        self._pause_s, self._carrier, self._told = REOPEN_S, None, ""
        log.info("%s: open", self._name)
        return True

    def read(self) -> bytes | None:
        """What has come in; None: the line is gone, and closed."""
        assert self._serial is not None
        try:
            if data := os.read(self._serial.fileno(), _READ_BYTES):
                return data
            self._gone("hung up")  # it was readable, and nothing came
        except OSError as exc:
            if exc.errno in _BUSY:
                return b""
            self._gone(str(exc.strerror))
        return None

    def write(self, data: bytes) -> int | None:
        """How many bytes it took; None: gone.

        Not pyserial's `write`: on a full line without a time-out that one tries for ever.
        """
        assert self._serial is not None
        try:
            return os.write(self._serial.fileno(), data)
        except OSError as exc:
            if exc.errno in _BUSY:
                return 0
            self._gone(str(exc.strerror))
        return None

    def carrier(self) -> bool | None:
        """Carrier detect, the other end's DTR; None where the line does not say."""
        try:
            return bool(self._serial.cd) if self._serial else None
        except OSError:
            return None

    def dropped(self) -> bool:
        """Was carrier detect on, and is now off?"""
        before, self._carrier = self._carrier, self.carrier()
        return before is True and self._carrier is False

    def flush(self) -> None:
        """Forget what the driver still holds for a reader that does not read."""
        if self._serial:
            with contextlib.suppress(OSError, termios.error):
                self._serial.reset_output_buffer()

    def close(self) -> None:
        self.flush()  # or the driver waits for a reader, for up to half a minute
        port, self._serial = self._serial, None
        if port:
            with contextlib.suppress(OSError):
                port.close()

    def due_s(self) -> float:
        """Until `open` will try again."""
        return max(0.0, (self._next_ns - self._clock.now_ns()) / 1e9)

    def _gone(self, why: str) -> None:
        self._tell(f"{self._name}: gone: {why}")
        self.close()
        self._later()

    def _later(self) -> None:
        self._next_ns = self._clock.now_ns() + int(self._pause_s * 1e9)
        self._pause_s = min(REOPEN_MOST_S, self._pause_s * 2)

    def _tell(self, what: str) -> None:
        if what != self._told:  # the same again and again is one line in the journal
            log.warning("%s", what)
        self._told = what
