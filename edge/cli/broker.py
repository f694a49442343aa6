"""A private mosquitto on a free loopback port, for the demo and the benchmark."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from edge.errors import EdgeError

START_WITHIN_S = 10.0
PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")  # often not on a user's PATH


def find() -> str:
    """Path of the mosquitto program. Raises EdgeError saying how to get it."""
    found = shutil.which("mosquitto") or next((f"{p}/mosquitto" for p in PLACES if Path(p, "mosquitto").exists()), None)
    if found is None:
        raise EdgeError("mosquitto, the MQTT broker, is not installed: apt install mosquitto (or tools/setup.sh)")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(folder: Path) -> Iterator[int]:
    """A broker whose files lie in `folder`; yields its port. EdgeError, with its own words, when it will not start."""
    program, port = find(), free_port()
    conf, log = folder / "mosquitto.conf", folder / "mosquitto.log"
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n")
    with log.open("wb") as output:
        process = subprocess.Popen([program, "-c", str(conf)], stdout=output, stderr=output)
    try:
        _wait_until_it_listens(process, port, log)
        yield port
    finally:
        process.terminate()
        process.wait(START_WITHIN_S)


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.2):
            return
        time.sleep(0.02)
    said = log.read_text(errors="replace").strip().splitlines()[-1:] or ["nothing"]
    raise EdgeError(f"mosquitto did not start on port {port}; it said: {said[0]}")
