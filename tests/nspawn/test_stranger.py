"""The README's way from a bare machine of another distribution to an alert, in a real one of that kind.

Needs root, a network, and the distribution's minimal root file system in a folder, for instance (24.04 is `noble`):
    mmdebstrap --variant=minbase --components=main,universe --keyring=ubuntu-archive-keyring.gpg \\
        --include=ubuntu-minimal,systemd-sysv,udev jammy DIR http://archive.ubuntu.com/ubuntu
    ENDOEDGE_BARE=DIR:OTHER pytest tests/nspawn/test_stranger.py
The folders stay as they are: what the test does to them lies in a tmpfs.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nspawn import machine
from tests.nspawn.machine import CORE, ROOT, UPLINK, Machine
from tests.support.proxy import proxy

BARE = [Path(name) for name in os.environ.get("ENDOEDGE_BARE", "").split(":") if name]
SOURCE, AUTHORITIES = Path("srv/endoedge"), Path("srv/authorities.pem")
INSTALL = f"/{SOURCE}/tools/install.sh"
# Of this machine's environment nothing; whom it trusts, the box has to, for the way out leads through it.
TRUST = [f"{name}=/{AUTHORITIES}" for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")]
LOGIN = ["-i", "HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *TRUST]
OURS, THEIRS = "169.254.77.1", "169.254.77.2"
ONE_ALERT = """from paho.mqtt import subscribe
print(subscribe.simple("endoedge/box-1/alert", hostname="127.0.0.1").payload.decode())"""

pytestmark = [
    pytest.mark.skipif(not BARE, reason="ENDOEDGE_BARE names no root file system of a bare machine"),
    pytest.mark.skipif(bool(machine.missing()), reason=machine.missing()),
]


@contextlib.contextmanager
def cable(box: Machine) -> Iterator[str]:
    """A network cable from here to the box, with a proxy at our end: its URL."""
    here = f"box{os.getpid()}"
    _ip("link", "add", here, "type", "veth", "peer", "name", "host0", "netns", str(box.leader))
    _ip("address", "add", f"{OURS}/30", "dev", here)
    _ip("link", "set", here, "up")
    box.run("ip", "address", "add", f"{THEIRS}/30", "dev", "host0")
    box.run("ip", "link", "set", "host0", "up")
    try:
        with proxy(OURS) as url:
            yield url
    finally:
        _ip("link", "delete", here)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("bare", BARE, ids=lambda path: path.name)
def test_from_bare_machine_to_alert(bare: Path, tmp_path: Path) -> None:
    authorities = Path(ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt")
    with machine.stranger(tmp_path, bare, {ROOT: SOURCE, authorities: AUTHORITIES}) as box, cable(box) as url:
        print(box.run("sh", "-c", ". /etc/os-release; echo $PRETTY_NAME; systemctl --version | head -1"))
        done = box.attempt("env", *LOGIN, f"http_proxy={url}", f"https_proxy={url}", INSTALL, within_s=2400)
        if done.returncode:
            print(box.run("journalctl", "--no-pager", "-u", "endoedge-*", "-n", "80"))
        assert done.returncode == 0, done.stdout + done.stderr
        print(done.stdout)
        assert box.active(CORE)
        assert box.active(UPLINK)
        said = box.attempt("/opt/endoedge/venv/bin/python", "-c", ONE_ALERT, within_s=120)
        assert '"kind":"polyp"' in said.stdout, said.stderr
        check = box.attempt("endoedge", "check", within_s=120)
        assert check.returncode == 0, check.stdout + check.stderr
        print(check.stdout)
        box.run("/opt/endoedge/venv/bin/python", "-c", "import serial, cryptography")  # the console's, by default, too
        assert box.run("systemctl", "is-active", CORE, UPLINK, "endoedge.target").split() == ["active"] * 3
        box.run(INSTALL, "remove", "--purge")
        assert box.attempt("test", "-e", "/opt/endoedge").returncode
