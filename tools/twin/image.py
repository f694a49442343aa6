"""The twin's root file system: Debian 12 by mmdebstrap as an ext4 image, cached by what it is made from."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from rich.console import Console
from rich.status import Status

from edge import config
from edge.errors import EdgeError
from tools.twin import needs

ROOT = Path(__file__).resolve().parents[2]
PARTS = Path(__file__).with_name("disk")
RELEASE, PYTHON = "bookworm", "3.11"
EXTRAS = ("metrics", "console", "update")  # as tools/install.sh
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64")
_DOCS = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


class Image(NamedTuple):
    """A built twin: one folder."""

    folder: Path

    @property
    def disk(self) -> Path:
        return self.folder / "root.img"

    @property
    def kernel(self) -> Path:
        return self.folder / "kernel"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd"


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/endoedge/twin`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "endoedge" / "twin"


def find() -> Image | None:
    """The image that belongs to this checkout, when it has been built."""
    image = Image(cache_dir() / digest())
    return image if image.disk.exists() else None


def digest() -> str:
    """Of everything an image is made from; the code under test is not among it, that travels with each run."""
    seen = hashlib.sha256(f"{RELEASE} {PYTHON} {_DOCS} {requirements()} {constraints()}".encode())
    for path in sorted(PARTS.rglob("*")):
        if path.is_file():
            seen.update(f"\0{path.relative_to(PARTS)}\0".encode() + path.read_bytes())
    return seen.hexdigest()[:16]


def packages() -> list[str]:
    lines = (line.partition("#")[0].strip() for line in (PARTS / "packages.txt").read_text().splitlines())
    return [line for line in lines if line]


def requirements() -> list[str]:
    """pyproject's own dependencies and those of EXTRAS, as the guest's Python needs them."""
    project = config.read_toml(ROOT / "pyproject.toml")["project"]
    wanted = [*project["dependencies"], *(need for extra in EXTRAS for need in project["optional-dependencies"][extra])]
    return sorted({f"{need.name}{need.specifier}" for need in map(Requirement, wanted) if _applies(need)})


def constraints() -> list[str]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    pins = [Requirement(line) for line in lines if line]
    return [f"{pin.name}{pin.specifier}" for pin in pins if _applies(pin)]


def _applies(need: Requirement) -> bool:
    guest = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.0", "platform_machine": "x86_64"}
    return need.marker is None or need.marker.evaluate(guest)


def build(console: Console, log: Path) -> Image:
    """Needs root for the chroot. What it does is written to `log`; EdgeError names it when a step fails."""
    needs.ensure(needs.BUILD, console, log)
    root = needs.as_root()
    if root is None:
        raise EdgeError("building needs root (a chroot is made); as root: tools/twin.sh build")
    final = Image(cache_dir() / digest())
    final.folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=final.folder.parent, ignore_cleanup_errors=True) as fresh:
        work = Path(fresh)
        work.chmod(0o755)
        wheels, made = work / "wheels", work / "image"
        made.mkdir()
        with console.status("Python packages") as status:
            _download(wheels, log)
            _debootstrap(root, made, wheels, log, status)
        shutil.rmtree(final.folder, ignore_errors=True)
        made.rename(final.folder)
    for old in final.folder.parent.iterdir():
        if old != final.folder and (old / "root.img").exists():  # 2 GB each, and found by nobody any more
            shutil.rmtree(old, ignore_errors=True)
    return final


def _download(wheels: Path, log: Path) -> None:
    """With this machine's pip, which knows its mirrors and certificates; the guest's takes what lies there."""
    wheels.mkdir()
    wanted, pinned = wheels / "requirements.txt", wheels / "constraints.txt"
    wanted.write_text("\n".join(requirements()) + "\n")
    pinned.write_text("\n".join(constraints()) + "\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}", f"--dest={wheels}"]
    command += [f"--platform={name}" for name in PLATFORMS]
    _logged("pip download", [*command, f"--constraint={pinned}", f"--requirement={wanted}"], log)


def _debootstrap(root: list[str], made: Path, wheels: Path, log: Path, status: Status) -> None:
    command = [needs.program("mmdebstrap"), "--mode=root", "--variant=minbase", "--architectures=amd64"]
    command += [f"--include={','.join(packages())}", "--format=null"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in _DOCS]
    hook = [str(PARTS / "customize.sh"), str(made), str(PARTS / "files"), str(wheels)]
    command += [f'--customize-hook={" ".join(hook)} "$1"', RELEASE, "/dev/null"]
    keep = ["env", *(f"{key}={value}" for key, value in os.environ.items() if key.lower().endswith("_proxy"))]
    _logged("mmdebstrap", [*root, *keep, *command], log, status)


def _logged(what: str, command: list[str], log: Path, status: Status | None = None) -> None:
    """Runs it with all its words in `log`; mmdebstrap's own ("I: ...") are shown as they come."""
    with (
        log.open("a", buffering=1) as output,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child,
    ):
        assert child.stdout is not None
        for raw in child.stdout:
            line = raw.decode(errors="replace")
            output.write(line)
            if status and line.startswith("I: "):
                status.update(line[3:].strip())
    if child.returncode:
        last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-1]
        raise EdgeError(f"{what} failed: {last}; all of it: {log}")
