"""The box's services as systemd runs them: the repository's units, the site's file, the processes' facts."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edge.status import rss_bytes
from tools.ota import thin
from tools.twin.elsewhere import CHECKOUT, GUEST
from tools.twin.guest.vivid import DEVICE

OPT, SYSTEM = Path("/opt/endoedge"), Path("/usr/lib/endoedge")
COMMAND = OPT / "venv/bin/endoedge"
UNITS = CHECKOUT / "systemd"
SITE = Path("/etc/endoedge/endoedge.toml")
RUN_DIR = Path("/run/endoedge")
NAME = "twin"
CORE, UPLINK, SLOT = "endoedge-core.service", "endoedge-uplink.service", "endoedge-slot.service"
CONSOLE = "endoedge-console@{}.service"  # of a port
CAPTURE: Mapping[str, Any] = {"source": "v4l2", "device": str(DEVICE), "field": "whole"}  # vivid draws no endoscope


class Facts(NamedTuple):
    """Of one process, now."""

    pid: int
    rss_bytes: int
    fds: int
    threads: int


def install() -> None:
    """As an installer would: units, users, folders and the program that starts a release, from the repository,
    unchanged. The release that was installed is the checkout."""
    units = [unit for kind in ("service", "target", "path", "socket") for unit in UNITS.glob(f"*.{kind}")]
    run("install", "-m", "644", "-t", "/usr/lib/systemd/system", *map(str, sorted(units)))
    run("install", "-D", "-m", "755", str(CHECKOUT / "edge/update/slot.py"), str(SYSTEM / "slot"))
    run("install", "-m", "644", str(CHECKOUT / "edge/update/slot_image.py"), str(SYSTEM))
    run("install", "-m", "644", str(UNITS / "endoedge-update-bus.conf"), str(SYSTEM / "update-bus.conf"))
    _lay_release()
    for kind in ("sysusers", "tmpfiles"):
        run("install", "-m", "644", str(UNITS / f"endoedge.{kind}.conf"), f"/usr/lib/{kind}.d/endoedge.conf")
    run("install", "-m", "644", str(UNITS / "endoedge.rules"), "/usr/lib/udev/rules.d/72-endoedge.rules")
    run("udevadm", "control", "--reload")
    run("systemd-sysusers", "endoedge.conf")
    run("systemd-tmpfiles", "--create", "endoedge.conf")
    run("systemctl", "daemon-reload")


def _lay_release() -> None:
    """The links of tools/install.sh."""
    shutil.rmtree(OPT / "releases", ignore_errors=True)
    release = thin.lay(OPT / "releases/installed", GUEST)
    for link, target in (
        (OPT / "current", release),
        (OPT / "venv", Path("/run/endoedge-slots/current/venv")),
        (Path("/usr/share/endoedge"), Path("/run/endoedge-slots/current/share")),
    ):
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def write_site(
    capture: Mapping[str, Any] = CAPTURE,
    infer: Mapping[str, Any] | None = None,
    more: Mapping[str, Mapping[str, Any]] = {},
) -> None:
    """`infer`: default is no model at all, because the emulated processor is slow. `more`: other tables."""
    lines = [f'device = "{NAME}"', 'pipeline = "colonoscopy"']
    for name, table in (
        ("capture", capture),
        ("infer", infer or {"backend": "null"}),
        ("outbox", {"path": "/var/lib/endoedge/outbox.db", "max_mib": 32}),
        ("uplink", {"host": "127.0.0.1", "port": 1883}),
        *more.items(),
    ):
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    SITE.parent.mkdir(parents=True, exist_ok=True)
    SITE.write_text("\n".join(lines) + "\n")


def start(unit: str) -> None:
    run("systemctl", "reset-failed", unit, check=False)
    run("systemctl", "start", unit)


def stop(unit: str) -> None:
    run("systemctl", "stop", unit)


def pid(unit: str) -> int:
    """0 when it does not run."""
    return int(run("systemctl", "show", "-P", "MainPID", unit))


def facts(process: int) -> Facts:
    proc = Path(f"/proc/{process}")
    fds, threads = (len(list((proc / name).iterdir())) for name in ("fd", "task"))
    return Facts(pid=process, rss_bytes=rss_bytes(process), fds=fds, threads=threads)


def open_files(process: int) -> str:
    """What each file descriptor of a process is, one a line; empty when there is no such process."""
    links = []
    for fd in Path(f"/proc/{process}/fd").glob("*"):
        with contextlib.suppress(OSError):  # closed meanwhile
            links.append((int(fd.name), str(fd.readlink())))
    return "".join(f"{number:4d} {target}\n" for number, target in sorted(links))


def times_open(process: int, device: Path) -> int:
    """How many of a process's descriptors are of a device."""
    return sum(line.endswith(f" {device.resolve()}") for line in open_files(process).splitlines())


def journal(*units: str, since_s: float = 0.0) -> str:
    """What these units (none: everybody) wrote in this boot since that wall-clock time, with monotonic times."""
    chosen = [part for unit in units for part in ("-u", unit)]
    return run("journalctl", "-b", "-q", "-o", "short-monotonic", f"--since=@{since_s:.3f}", *chosen) + "\n"


def run(*command: str, check: bool = True) -> str:
    """Its stdout. RuntimeError with its words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()
