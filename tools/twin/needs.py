"""What the host needs to build and run the twin: installed when we may, told otherwise."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from rich.console import Console

from edge.errors import EdgeError

RUN = {"qemu-system-x86_64": "qemu-system-x86", "mke2fs": "e2fsprogs"}  # program → Debian package
BUILD = {**RUN, "mmdebstrap": "mmdebstrap"}
UPDATES = {  # releases, and a stick
    **RUN,
    "tune2fs": "e2fsprogs",
    "rauc": "rauc",
    "mksquashfs": "squashfs-tools",
    "openssl": "openssl",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
}
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])  # mke2fs is often not on a user's PATH
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def there(name: str) -> bool:
    return shutil.which(name, path=_PATH) is not None


def program(name: str) -> str:
    """Its path. EdgeError saying how to get it."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        package = {**BUILD, **UPDATES}[name]
        raise EdgeError(f"{name} is not installed; as root: apt-get install --no-install-recommends {package}")
    return found


def as_root() -> list[str] | None:
    """What to put before a command that needs root: nothing as root, sudo where it asks nothing, None otherwise."""
    if os.geteuid() == 0:
        return []
    asks = not shutil.which("sudo") or subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode
    return None if asks else ["sudo", "-n"]


def ensure(programs: dict[str, str], console: Console, log: Path) -> None:
    """Installs the missing packages as root or with sudo. EdgeError with the line to run when we may not."""
    missing = {package for name, package in programs.items() if shutil.which(name, path=_PATH) is None}
    if programs is BUILD and not _KEYRING.exists():  # Debian's signatures, on another distribution
        missing.add("debian-archive-keyring")
    if not missing:
        return
    install = ["apt-get", "install", "-y", "--no-install-recommends", *sorted(missing)]
    root = as_root()
    if root is None or shutil.which("apt-get") is None:
        raise EdgeError(f"packages are missing; as root: apt-get update && {' '.join(install)}")
    with console.status(f"installing {', '.join(sorted(missing))}"), log.open("ab") as output:
        for command in (["apt-get", "update", "-q"], ["env", "DEBIAN_FRONTEND=noninteractive", *install]):
            if subprocess.run([*root, *command], stdout=output, stderr=output).returncode:
                raise EdgeError(f"{' '.join(command)} failed; its words are in {log}")
