"""What the core tells the display, and how: one unix datagram each, sent and forgotten.

The display is another process. Nobody listening, a full queue, a picture too large: that one picture is not shown, and
the core loses the microseconds that the attempt took, nothing more.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import select
import socket
from pathlib import Path

import msgspec

from edge.errors import DisplayError
from edge.types import Box, Field, SignalState, Struct, View

log = logging.getLogger(__name__)

NAME = "display.sock"  # in RUN_DIR
LARGEST = 1 << 20  # bytes of a datagram; the kernel may allow less (net.core.wmem_max)
EVERY_NS = 200_000_000  # the core speaks at least so often; see banner.STALE_NS
_NOT_NOW = (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN, errno.ENOBUFS)  # no display, or one that is behind


class ShownBox(Struct, frozen=True, kw_only=True):
    """A region on the picture; `box` in source pixels."""

    label: str
    box: Box
    score: float  # 0..1
    confirmed: bool  # it is a track, not one frame's detection


class Shown(Struct, frozen=True, kw_only=True):
    """The core's present view of things, and a picture where there is a new one.

    Both times are CLOCK_MONOTONIC: the display judges by them whether it still shows the present.
    """

    said_ns: int  # when the core sent this
    state: SignalState
    detail: str = ""
    view: View | None = None  # what the rules believe; None: not judged
    boxes: tuple[ShownBox, ...] = ()
    alerts: tuple[str, ...] = ()  # texts of those that are active
    captured_ns: int = 0  # of the picture
    jpeg: bytes = b""  # of `field`, black outside its outline; b"": no new picture
    field: Field | None = None


class Sender:
    """The core's end. Owner: the core loop's thread. Neither raises nor blocks."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._encoder = msgspec.msgpack.Encoder()
        self._buffer = bytearray()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
        self._told: set[int | None] = set()
        self.sent = 0
        self.lost = 0  # nobody there, or it was behind

    def send(self, shown: Shown) -> bool:
        """True when a display has it in its queue."""
        self._encoder.encode_into(shown, self._buffer)
        try:
            if len(self._buffer) > LARGEST:
                raise OSError(errno.EMSGSIZE, f"{len(self._buffer)} bytes, {LARGEST} are the most")
            self._socket.sendto(self._buffer, socket.MSG_DONTWAIT, self._path)
        except OSError as exc:
            self.lost += 1
            if exc.errno not in _NOT_NOW:
                self._tell_once(exc)
            return False
        self.sent += 1
        return True

    def _tell_once(self, exc: OSError) -> None:
        if exc.errno not in self._told:
            self._told.add(exc.errno)
            log.warning("%s: a picture cannot be shown: %s", self._path, exc.strerror or exc)

    def close(self) -> None:
        self._socket.close()


class Listener:
    """The display's end. Owner: the display's main thread."""

    def __init__(self, path: Path) -> None:
        """Replaces a socket that a killed display left behind. Raises DisplayError."""
        self._path = path
        self._decoder = msgspec.msgpack.Decoder(Shown)
        self._buffer = bytearray(LARGEST)
        self.unreadable = 0  # datagrams that were no `Shown`: another version of the core
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._refuse_a_second()
            path.unlink(missing_ok=True)
            self.socket.bind(str(path))
            path.chmod(0o660)  # the core may run as another user of the same group
        except OSError as exc:
            self.socket.close()
            raise DisplayError(f"{path}: cannot be made: {exc.strerror or exc}") from exc
        except DisplayError:
            self.socket.close()
            raise

    def _refuse_a_second(self) -> None:
        """Whoever has the socket gets the pictures: a second display would silently leave the first without."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.connect(str(self._path))
            raise DisplayError(f"{self._path}: another display listens there already")

    def hear(self, timeout_s: float) -> list[Shown]:
        """All that came, oldest first; waits for the first at most `timeout_s`."""
        select.select([self.socket], [], [], timeout_s)
        heard: list[Shown] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                size = self.socket.recv_into(self._buffer)
                try:
                    heard.append(self._decoder.decode(memoryview(self._buffer)[:size]))
                except (msgspec.DecodeError, UnicodeDecodeError) as exc:  # ValidationError is a DecodeError
                    self.unreadable += 1
                    if self.unreadable == 1:
                        log.warning("%s: what the core sends cannot be read: %s", self._path, exc)
        return heard

    def close(self) -> None:
        self.socket.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
