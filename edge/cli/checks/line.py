"""The serial line: with a loopback plug a pattern goes out and comes back. A line that somebody has is left alone."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

from edge.cli.checks.trying import NotTriedError
from edge.clock import SystemClock
from edge.config import ConsoleConfig
from edge.console.port import Port
from edge.errors import EdgeError

PATTERN = bytes(range(256)) * 16  # 4 KiB: every byte, so that flow control and 7 bits show
SPARE_S = 2.0
_BITS = 10  # a byte's on the line: start, eight, stop


def console_port(config: ConsoleConfig) -> str:
    """Nothing is sent on it: whoever is at the other end has not asked for it. Raises NotTriedError, which says how the
    line is."""
    path = Path(config.port)
    if not path.exists():
        raise NotTriedError(f"{path} is not there; with a loopback plug: --serial PORT")
    owner = holder(path)
    who = f"held by {owner}" if owner else "held by nobody: is endoedge-console@ of that port running?"
    raise NotTriedError(f"{path} is {who}; with a loopback plug on another: --serial PORT")


def loopback(name: str, baud: int) -> str:
    """Raises EdgeError: held by somebody, or something else comes back than was sent."""
    path = Path(name)
    if not path.exists():
        raise EdgeError(f"{name}: is not there")
    if owner := holder(path):
        raise EdgeError(f"{name}: held by {owner}")
    port = Port(name, baud, SystemClock())
    if not port.open():
        raise EdgeError(f"{name}: cannot be opened (the log says why)")
    within_s = len(PATTERN) * _BITS / baud + SPARE_S
    try:
        begun = time.monotonic()
        came = _exchanged(port, begun + within_s)
        spent_s = time.monotonic() - begun
    finally:
        port.close()
    if came == PATTERN:
        return f"{name}: {len(PATTERN)} bytes out and back in {spent_s:.2f} s at {baud} baud"
    same = next((at for at, pair in enumerate(zip(came, PATTERN, strict=False)) if pair[0] != pair[1]), len(came))
    other = f"byte {same} came back wrong" if same < len(came) else "no more came"
    raise EdgeError(f"{name}: {same} of {len(PATTERN)} bytes came back within {within_s:.1f} s, then {other}")


def _exchanged(port: Port, until_s: float) -> bytes:
    """What came back: as many bytes as were sent, or less at `until_s`."""
    out, came = PATTERN, b""
    while len(came) < len(PATTERN) and (left_s := until_s - time.monotonic()) > 0 and port.fd is not None:
        readable, writable, _ = select.select([port.fd], [port.fd] if out else [], [], left_s)
        if writable:
            out = out[port.write(out) or 0 :]
        if readable and port.fd is not None:
            came += port.read() or b""
    return came


def holder(path: Path, root: Path = Path("/")) -> str:
    """Who has locked it, without opening it (that would raise DTR on a real line); "" for nobody.

    /proc/locks: `1: FLOCK  ADVISORY  WRITE 4711 00:05:1029 0 EOF`, the file by its device, in hexadecimal, and inode.
    """
    facts = path.stat()
    device = f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"
    for line in (root / "proc/locks").read_text().splitlines():
        words = line.replace("->", "").split()
        if words[1] == "FLOCK" and words[5] == device:
            return f"process {words[4]} ({_command(root / 'proc' / words[4])})"
    return ""


def _command(process: Path) -> str:
    """Its first words; a sandbox hides other users' processes."""
    try:
        words = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return "of another user"
    return " ".join(Path(word).name for word in words[:4] if word)
