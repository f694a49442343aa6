"""Reads release images and bundles, with unsquashfs: they are not mounted."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edge.errors import UpdateError
from edge.release import FILE, Release

# The kernel reads zstd several times faster than xz. Blocks of 128 KiB are mksquashfs's own choice.
COMPRESSION = ("-comp", "zstd", "-Xcompression-level", "19", "-b", "128K")
_LATER = {
    "share/models": -10,
    "share/pipelines": -20,
    "venv/lib/python3.*/site-packages/edge": -30,
    "venv/lib/python3.*/site-packages/calibration": -30,
    "venv/lib/python3.*/site-packages/endoedge-*.dist-info": -30,
    FILE: -40,
    "sbom.cdx.json": -40,
}
"""What changes oftener lies further back: all before the first change is the same from release to release, down to its
place in the image, so that an adaptive update finds it (`delta`)."""


def release(image: Path) -> Release:
    """What a release image says of itself. Raises UpdateError: no image, or it does not say."""
    content = cat(image, FILE)
    try:
        return msgspec.json.decode(content, type=Release)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise UpdateError(f"{image}: {FILE}: {exc}") from exc


def squash(folder: Path, to: Path, epoch: int, options: Sequence[str] = COMPRESSION) -> None:
    """The same folder gives the same bytes."""
    scratch, order = to.with_name(f".{to.name}"), to.with_name(f".{to.name}.order")
    scratch.unlink(missing_ok=True)
    later = ((path.relative_to(folder), by) for name, by in _LATER.items() for path in sorted(folder.glob(name)))
    order.write_text("".join(f"{path} {by}\n" for path, by in later), encoding="utf-8")
    command = ["mksquashfs", str(folder), str(scratch), "-noappend", "-no-progress", "-no-xattrs", "-all-root"]
    command += ["-all-time", str(epoch), "-mkfs-time", str(epoch), "-sort", str(order), *options]
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}  # it wants either
    try:
        run(command, str(to), env=environment)
        scratch.replace(to)
    finally:
        scratch.unlink(missing_ok=True)
        order.unlink(missing_ok=True)


def sha256(file: Path) -> str:
    with file.open("rb") as opened:
        found = hashlib.sha256()
        while block := opened.read(1 << 20):
            found.update(block)
    return found.hexdigest()


@contextmanager
def inside(bundle: Path) -> Iterator[Path]:
    """The release image of a bundle, while it is looked at. The signature is RAUC's matter."""
    with tempfile.TemporaryDirectory(dir=bundle.parent, prefix=".bundle-") as scratch:
        image = Path(scratch, "app.img")
        with image.open("wb") as file:
            _unsquashfs(["-cat", str(bundle), "app.img"], bundle, file)
        yield image


def unpack(image: Path, to: Path) -> None:
    """All of it, with its times and modes."""
    _unsquashfs(["-no-progress", "-no-xattrs", "-dest", str(to), str(image)], image)


def cat(image: Path, name: str) -> bytes:
    with tempfile.TemporaryFile() as file:
        _unsquashfs(["-cat", str(image), name], image, file)
        file.seek(0)
        return file.read()


def _unsquashfs(arguments: list[str], image: Path, to: object = subprocess.DEVNULL) -> None:
    if not image.exists():
        raise UpdateError(f"{image}: not there")
    run(["unsquashfs", *arguments], str(image), to)


def run(command: list[str], what: str, to: object = subprocess.DEVNULL, **options: object) -> None:
    """Raises UpdateError with the program's last words."""
    try:
        done = subprocess.run(command, stdout=to, stderr=subprocess.PIPE, check=False, **options)  # type: ignore[call-overload]
    except OSError as exc:
        package = {"unsquashfs": "squashfs-tools", "mksquashfs": "squashfs-tools"}.get(command[0], command[0])
        raise UpdateError(f"{command[0]}: {exc.strerror}: install the package {package}") from exc
    if done.returncode:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        raise UpdateError(f"{what}: {command[0]}: {lines[-1].strip() if lines else f'exit code {done.returncode}'}")
