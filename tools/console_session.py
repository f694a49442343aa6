#!/usr/bin/env python3
"""A real session with the serial console, on this machine: core, uplink (without a broker) and console run as they do
on a box, and somebody types at the other end of a pty.

tools/console_session.py transcript            # print one
tools/console_session.py transcript --write    # ... and put it into docs/console.md
tools/console_session.py latency -n 200        # how long `status` takes while the core works as fast as it can
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tty
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edge import status  # noqa: E402
from edge.cli import processes  # noqa: E402
from edge.console.editor import PROMPT  # noqa: E402
from edge.console.tokens import Claims  # noqa: E402
from tools import service_token  # noqa: E402

PAGE = ROOT / "docs" / "console.md"
BEGIN, END = "<!-- transcript: tools/console_session.py transcript --write -->\n", "<!-- end of transcript -->"
WITHIN_S = 60.0
TARGET_MS = 100.0


class Terminal:
    """The other end of the line. What is typed is echoed by the console, so what was read is all there is to see."""

    def __init__(self, fd: int) -> None:
        self.fd, self.seen = fd, ""

    def types(self, keys: str) -> str:
        os.write(self.fd, keys.encode("ascii"))
        return keys

    def until(self, end: str) -> str:
        """What comes, up to and with `end`."""
        said, deadline = "", time.monotonic() + WITHIN_S
        while not said.endswith(end):
            if not select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"no {end!r} within {WITHIN_S:g} s, but {said[-200:]!r}")
            said += os.read(self.fd, 1 << 16).decode("ascii", "replace")
        self.seen += said
        return said

    def asks(self, command: str) -> str:
        self.types(command + "\r")
        return self.until("\r\n" + PROMPT.decode())


@contextlib.contextmanager
def box(folder: Path, rate: str, uplink_lines: str = "port = 9\n") -> Iterator[tuple[Terminal, dict[str, int]]]:
    """Core, uplink and console in `folder`; the pids. Nothing of it is faked: only the line is a pty."""
    file = folder / "endoedge.toml"
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    file.write_text(
        'device = "theatre-3"\npipeline = "colonoscopy"\nrun_dir = "run"\n'
        f'[capture]\nsource = "phantom"\nrate = "{rate}"\nloop = true\n[infer]\nbackend = "onnx"\n'
        f'[outbox]\npath = "outbox.db"\n[uplink]\nhost = "127.0.0.1"\n{uplink_lines}'
        f'[console]\nport = "{os.ttyname(theirs)}"\nstate_dir = "state"\nkeys_dir = "keys"\n'
    )
    (folder / "keys").mkdir()
    _, pem = service_token.make_keys(folder / "service", "")
    pem.rename(folder / "keys" / pem.name)
    command = [sys.executable, "-m", "edge.cli", "console", "-c", str(file)]
    with (
        processes.running("core", file, folder / "core.log") as core,
        processes.running("uplink", file, folder / "uplink.log") as uplink,
        (folder / "console.log").open("wb") as log,
        subprocess.Popen(command, stderr=log, env=os.environ | {"PYTHONPATH": str(ROOT)}) as console,
    ):
        try:
            terminal = Terminal(ours)
            _wait_for_frames(folder / "run" / "status.json", core)
            terminal.types("\r")
            terminal.until(PROMPT.decode())
            yield terminal, {"core": core.pid, "uplink": uplink.pid, "console": console.pid}
        finally:
            console.terminate()


def _wait_for_frames(path: Path, core: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 2 * WITHIN_S  # the phantom is rendered when it is not cached
    while (now := status.read(path, status.CoreStatus)) is None or now.source.frames < 50:
        if core.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"the core does not run: {path.parent.parent / 'core.log'}")
        time.sleep(0.1)


def transcript() -> str:
    """What a person sees who looks for a fault, logs in and takes a support bundle along."""
    with tempfile.TemporaryDirectory() as name, box(Path(name), "real") as (terminal, _):
        terminal.seen = PROMPT.decode()
        for command in ("help", "status", "faults", "signal", "time", "update", "log 5"):
            terminal.asks(command)
        terminal.types("watch\r")
        for _ in range(4):
            terminal.until("\r\n")
        terminal.types(" ")
        terminal.until(PROMPT.decode())
        nonce = re.search(r"nonce +(\w+)", terminal.asks("login"))
        assert nonce
        now = int(time.time())
        claims = Claims(
            device="theatre-3",
            nonce=nonce[1],
            name="A. Engineer",
            issued=now,
            not_after=now + 3600,
            rights=service_token.RIGHTS,
        )
        token = service_token.sign(Path(name) / "service.key", "", claims)
        terminal.asks(f"login {token}")
        terminal.asks("selftest")
        _receive(terminal, Path(name))
        terminal.asks("reboot")
        terminal.asks("logout")
        seen = terminal.seen.replace(token, token[:24] + "...").replace(name, "/desk")
    return seen.replace("\r\n", "\n").rpartition("\n")[0] + "\n"


def _receive(terminal: Terminal, folder: Path) -> None:
    """As a terminal program does: a YMODEM receiver takes the line over for as long as it needs."""
    rb = shutil.which("rb")
    if rb is None:
        return
    terminal.types("support\r")
    terminal.until("ends this\r\n")
    subprocess.run([rb, "--quiet"], cwd=folder, stdin=terminal.fd, stdout=terminal.fd, timeout=WITHIN_S, check=True)
    terminal.until(PROMPT.decode())


def latency(count: int) -> dict[str, object]:
    """Enter to the next prompt, of `status`, with the core at full load."""
    with tempfile.TemporaryDirectory() as name, box(Path(name), "max") as (terminal, pids):
        took_ms = []
        for _ in range(count):
            begun = time.perf_counter()
            terminal.asks("status")
            took_ms.append((time.perf_counter() - begun) * 1e3)
            time.sleep(0.05)
        core = status.read(Path(name) / "run" / "status.json", status.CoreStatus)
        rss = {f"{part}_rss_mib": round(status.rss_bytes(pid) / 2**20, 1) for part, pid in pids.items()}
    ranked = sorted(took_ms)
    return {
        "status_ms_p50": round(statistics.median(ranked), 2),
        "status_ms_p99": round(ranked[int(len(ranked) * 0.99) - 1], 2),
        "status_ms_max": round(ranked[-1], 2),
        "asked": count,
        "core_fps": core.fps if core else None,
        "load_1min": os.getloadavg()[0],
        "within_target": ranked[-1] <= TARGET_MS,
        **rss,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("transcript").add_argument("--write", action="store_true", help="into docs/console.md")
    commands.add_parser("latency").add_argument("-n", type=int, default=200, metavar="N", help="questions")
    options = parser.parse_args()
    if options.command == "latency":
        found = latency(options.n)
        print(json.dumps(found))
        return 0 if found["within_target"] else 1
    seen = transcript()
    print(seen)
    if options.write:
        text = PAGE.read_text(encoding="utf-8")
        before, after = text.partition(BEGIN)[0], text.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}```\n{seen}```\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
