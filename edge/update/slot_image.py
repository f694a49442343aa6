"""The image in a slot: verified, then mounted read-only. Beside slot.py, and as it outside of every release."""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import subprocess
from pathlib import Path


class SpoiltError(Exception):
    """There is none that may be started; why."""


def written(status: Path, section: str) -> dict[str, str]:
    """What RAUC says it wrote there: of its status file that section, without what a switch changes in it."""
    parsed = configparser.RawConfigParser(delimiters=("=",), strict=False)
    try:
        parsed.read_string(status.read_text(encoding="utf-8"))
        found = dict(parsed[section])
        if found["status"] != "ok" or int(found["size"]) <= 0 or len(found["sha256"]) != 64:
            raise SpoiltError(f"{status}: {section} was not written to its end")
    except (OSError, ValueError, KeyError, configparser.Error) as exc:
        raise SpoiltError(f"{status}: RAUC knows of no image in {section}: {exc!r}") from exc
    return {key: value for key, value in found.items() if not key.startswith("activated")}


def verify(image: Path, size: int, sha256: str) -> None:
    """The image's own bytes: what lies behind them is left of a longer one, or of a partition."""
    digest, left = hashlib.sha256(), size
    try:
        with image.open("rb", buffering=0) as file:
            while left and (part := file.read(min(left, 1 << 20))):
                digest.update(part)
                left -= len(part)
    except OSError as exc:
        raise SpoiltError(f"{image}: cannot be read: {exc.strerror}") from exc
    if left:
        raise SpoiltError(f"{image}: {left} of {size} bytes are missing")
    if digest.hexdigest() != sha256:
        raise SpoiltError(f"{image}: its sha256 is not that of what was written")


def mount(image: Path, known: dict[str, str], place: Path) -> None:
    """`known`: of `written`. What is mounted there already, and was not written since, is not read again."""
    try:
        stat = image.stat()
    except OSError as exc:
        raise SpoiltError(f"{image}: {exc.strerror}") from exc
    seal, mine = _seal(place), json.dumps([known, stat.st_ino, stat.st_size, stat.st_mtime_ns])
    if os.path.ismount(place) and seal.exists() and seal.read_text() == mine:
        return
    unmount(place)
    verify(image, int(known["size"]), known["sha256"])
    place.mkdir(parents=True, exist_ok=True)
    done = _mounted(image, place)
    if done.returncode or not os.path.lexists(place / "venv/bin/endoedge"):
        unmount(place)
        raise SpoiltError(f"{image}: is no release: {done.stderr.strip() or 'venv/bin/endoedge is not in it'}")
    seal.write_text(mine)


def _mounted(image: Path, place: Path) -> subprocess.CompletedProcess[str]:
    """A file gets a loop device of its own. `mount -o loop` would take the one of an earlier mount that somebody still
    holds (another mount namespace), and show what was in the file then."""
    if image.is_block_device():
        return _run("mount", "-t", "squashfs", "-o", "ro,nodev,nosuid", image, place)
    made = _run("losetup", "--find", "--show", "--read-only", image)
    if made.returncode:
        return made
    device = made.stdout.strip()
    done = _run("mount", "-t", "squashfs", "-o", "ro,nodev,nosuid", device, place)
    _run("losetup", "--detach", device)  # as soon as it is unmounted
    return done


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def unmount(place: Path) -> None:
    """Lazily: who still looks at it does so to the end."""
    _seal(place).unlink(missing_ok=True)
    while os.path.ismount(place):
        if subprocess.run(["umount", "--lazy", str(place)], check=False).returncode:
            return


def _seal(place: Path) -> Path:
    return place.with_suffix(".ready")
