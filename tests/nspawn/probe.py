"""Tries what a unit must not be able to do, and prints what came of it: {"attempt": "" or the refusal}.

Run in the box, by a unit. Nothing here harms a box in which it is allowed.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

CLONE_NEWUSER = 0x10000000
SECRET = "/etc/endoedge/credentials/mqtt-password"
libc = ctypes.CDLL(None, use_errno=True)


def call(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), errno.errorcode[ctypes.get_errno()])


def connect() -> None:
    """To the broker, which is there."""
    socket.create_connection(("127.0.0.1", 1883), timeout=5).close()


def set_uid_bit() -> None:
    file = Path("/tmp/probe-suid")
    file.touch()
    try:
        file.chmod(0o4755)
    finally:
        file.unlink()


def write(name: str) -> None:
    path = Path(name)
    path.touch()
    path.unlink()


def open_device(name: str) -> None:
    """A node without a driver will do: that is found out after the rules were asked."""
    try:
        os.close(os.open(name, os.O_RDWR))
    except OSError as exc:
        if exc.errno not in (errno.ENXIO, errno.ENODEV):
            raise


ATTEMPTS: dict[str, Callable[[], object]] = {
    "network": connect,
    "raw packets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
    "write /usr": lambda: write("/usr/probe"),
    "write /etc": lambda: write("/etc/endoedge/probe"),
    "write /opt": lambda: write("/opt/endoedge/probe"),
    "read secrets": lambda: Path(SECRET).read_text(),
    "list homes": lambda: list(Path("/root").iterdir()),
    "video device": lambda: open_device("/dev/video9"),
    "another device": lambda: open_device("/dev/probe9"),
    "set-uid file": set_uid_bit,
    "namespace": lambda: call(libc.unshare(CLONE_NEWUSER)),
    "ask the clock": lambda: call(libc.adjtimex(ctypes.create_string_buffer(512))),
    "clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    "kernel setting": lambda: Path("/proc/sys/kernel/printk_ratelimit").write_text("5"),
    "host name": lambda: socket.sethostname(socket.gethostname()),
    "personality": lambda: call(libc.personality(0x0040000)),  # ADDR_NO_RANDOMIZE
}

if __name__ == "__main__":
    came_of_it = {}
    for name, attempt in ATTEMPTS.items():
        try:
            attempt()
            came_of_it[name] = ""
        except OSError as exc:
            came_of_it[name] = str(exc)
    print(json.dumps(came_of_it))
