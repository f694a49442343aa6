"""The machine's own watchdog, which restarts it when the kernel or systemd hangs. Looked at, never opened: who opens it
starts it, and who then dies restarts the machine.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from edge.cli.checks.trying import NotTriedError
from edge.errors import EdgeError

MEND = "RuntimeWatchdogSec=30 in a file of /etc/systemd/system.conf.d/, systemctl daemon-reexec (docs/install.md)"
_WITHIN_S = 5.0


def watchdog(root: Path = Path("/"), jetson: bool = False) -> str:
    """`jetson`: the machine has to have one. Raises EdgeError: there is none, or nobody feeds it."""
    if not (root / "dev/watchdog0").exists():
        if jetson:
            raise EdgeError("no /dev/watchdog0: is the kernel's tegra_wdt driver loaded?")
        raise NotTriedError("no /dev/watchdog0 (a desk machine, or a container)")
    facts = root / "sys/class/watchdog/watchdog0"
    identity, state, timeout = (_text(facts / name) for name in ("identity", "state", "timeout"))
    asked = runtime_watchdog()
    if state != "active":
        raise EdgeError(f"/dev/watchdog0 ({identity}) is not used; systemd's RuntimeWatchdogSec is {asked}")
    if asked in ("0", "off"):
        return f"{identity}: active, {timeout} s, fed by another program than systemd"
    return f"{identity}: active, {timeout} s; systemd feeds it (RuntimeWatchdogSec {asked})"


def runtime_watchdog() -> str:
    """As systemd tells it: "30s", "0" for none, "unknown" where it cannot be asked."""
    command = ["systemctl", "show", "--property=RuntimeWatchdogUSec", "--value"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_WITHIN_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return "?"
