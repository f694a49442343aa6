"""A network of two: this machine, and a namespace behind a cable that can be pulled. Needs root, iproute2, util-linux.

The namespace belongs to a process that dies with us, so that nothing is left of it whatever happens.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.waiting import wait_for

HERE, THERE, BITS = "198.18.0.1", "198.18.0.2", 30  # RFC 2544: never anybody's network
PROGRAMS = ("ip", "nsenter", "setpriv", "unshare")


def missing() -> str:
    """Why there can be no such cable here; "" when there can."""
    if os.geteuid():
        return "a network namespace needs root"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if lacking := [name for name in PROGRAMS if not shutil.which(name, path=path)]:
        return f"not installed: {', '.join(lacking)}"
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "no network namespaces here, not even for root" if tried.returncode else ""


class Cable:
    """`prefix` puts a command at its far end. `HERE` is our address, `THERE` the far end's."""

    def __init__(self, holder: int) -> None:
        self._name = f"ee{holder}"  # 15 characters at most
        self._namespace = f"/proc/{holder}/ns/net"
        self.prefix: Sequence[str] = ("nsenter", f"--net={self._namespace}")
        _run("ip", "link", "add", self._name, "type", "veth", "peer", "name", "eth0", "netns", str(holder))
        _run("ip", "address", "add", f"{HERE}/{BITS}", "dev", self._name)
        _run("ip", "link", "set", self._name, "up")
        for words in (f"address add {THERE}/{BITS} dev eth0", "link set eth0 up", "link set lo up"):
            _run(*self.prefix, "ip", *words.split())

    @contextlib.contextmanager
    def out(self) -> Iterator[None]:
        """Pulled at our end: the far one sees no carrier."""
        _run("ip", "link", "set", self._name, "down")
        try:
            yield
        finally:
            _run("ip", "link", "set", self._name, "up")

    def remove(self) -> None:
        _run("ip", "link", "del", self._name)


@contextlib.contextmanager
def cable() -> Iterator[Cable]:
    ours = Path("/proc/self/ns/net").readlink()
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"]
    with subprocess.Popen(command) as holder:
        try:
            wait_for(lambda: Path(f"/proc/{holder.pid}/ns/net").readlink() != ours, "a network namespace")
            laid = Cable(holder.pid)
            try:
                yield laid
            finally:
                laid.remove()
        finally:
            holder.kill()


def _run(*command: str) -> None:
    env = os.environ | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
