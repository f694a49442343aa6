"""Reads release images and bundles, with unsquashfs: they are not mounted."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edge.errors import UpdateError
from edge.types import Struct
from edge.update.offer import Content, Digest, Name, Words

RELEASE = "release.json"


class Release(Struct, frozen=True, kw_only=True):
    """`/release.json`: what an image is."""

    version: Annotated[str, Meta(min_length=1, max_length=64)]
    package: str  # endoedge's own version
    content: Content
    hardware: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=16)]
    system: Annotated[int, Meta(ge=1)]
    commit: str
    python: str  # "3.11": of the distribution that the environment was made on
    models: dict[str, Digest]
    pipelines: dict[str, Digest]
    changes: Words = ""
    clinical: Words = ""


def release(image: Path) -> Release:
    """What a release image says of itself. Raises UpdateError: no image, or it does not say."""
    content = cat(image, RELEASE)
    try:
        return msgspec.json.decode(content, type=Release)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise UpdateError(f"{image}: {RELEASE}: {exc}") from exc


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
