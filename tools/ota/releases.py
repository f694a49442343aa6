"""Releases, signed and published: whole ones by `tools/release.sh build`, or thin ones that run this checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

from securesystemslib.signer import Key

from edge.errors import UpdateError
from edge.update.offer import Offer
from tools.ota import thin
from tools.release import repository, roots, signers

ROOT = Path(__file__).parents[2]
HARDWARE = "endoedge-desk"
CHANNEL = "stable"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PROGRAMS = ("rauc", "dbus-daemon", "mksquashfs", "openssl")


def missing() -> str:
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"not installed: {', '.join(lacking)} (tools/setup.sh dev)" if lacking else ""


def thin_folder(folder: Path, version: str) -> Path:
    """What a release's root looks like, but that program, packages, models and pipelines are this checkout's."""
    here = thin.Elsewhere(ROOT, sysconfig.get_path("purelib"), f"python{PYTHON}")
    return thin.lay(folder, here, version)


def squash(folder: Path, image: Path) -> Path:
    _run("mksquashfs", folder, image, "-noappend", "-quiet", "-no-progress", "-all-root", "-comp", "zstd")
    return image


class Publisher:
    """Who signs releases, and the repository that is served. Keys are made for the occasion and held in memory but for
    RAUC's, which it reads from files."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.repository, self.ca = folder, folder / "repository", folder / "release-ca.pem"
        self.key = folder / "release.key"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        _run(*command, "-keyout", self.key, "-out", self.ca, "-days", "30", "-subj", "/CN=desk")
        self.keys = repository.Keys(signers.generated(), signers.generated(), signers.generated())
        self.owners = [signers.generated() for _ in range(3)]
        repository.create(self.repository, self.keys)
        others: dict[roots.Role, Key] = {
            "targets": self.keys.targets.public_key,
            "snapshot": self.keys.snapshot.public_key,
            "timestamp": self.keys.timestamp.public_key,
        }
        draft = roots.begin([owner.public_key for owner in self.owners], 2, others)
        if wanting := roots.sign(self.repository, draft, self.owners[:2]):
            raise UpdateError(f"the root is not whole: {wanting}")

    @property
    def root(self) -> bytes:
        return (self.repository / "metadata/1.root.json").read_bytes()

    def bundle(
        self, image: Path, version: str, hardware: str = HARDWARE, signed_by: tuple[Path, Path] | None = None
    ) -> Path:
        """Signed for RAUC. `signed_by`: another certificate than ours, and its key."""
        cert, key = signed_by or (self.ca, self.key)
        content, made = self.folder / f"content-{version}", self.folder / f"{version}.raucb"
        shutil.rmtree(content, ignore_errors=True)
        made.unlink(missing_ok=True)
        content.mkdir()
        shutil.copyfile(image, content / "app.img")  # a link would be one in the bundle, too
        (content / "manifest.raucm").write_text(
            f"[update]\ncompatible={hardware}\nversion={version}\n[bundle]\nformat=plain\n[image.app]\nfilename=app.img\n"
        )
        _run("rauc", "--cert", cert, "--key", key, "bundle", content, made)
        shutil.rmtree(content)
        return made

    def publish(self, bundle: Path, version: str, hardware: str = HARDWARE, **offer: Any) -> Offer:
        said = repository.described(bundle, version, hardware)
        made = Offer(version=version, channel=CHANNEL, hardware=(hardware,), bundle=said, **offer)
        repository.publish(self.repository, made, bundle, self.keys)
        return made

    def thin(self, version: str, change: Callable[[Path], None] = lambda _folder: None, **offer: Any) -> Offer:
        """Built, signed and published. `change` is given its root folder."""
        return self.publish(self.bundle(self.image(version, change), version), version, **offer)

    def image(self, version: str, change: Callable[[Path], None] = lambda _folder: None) -> Path:
        """A thin release, built."""
        folder = self.folder / f"thin-{version}"
        shutil.rmtree(folder, ignore_errors=True)
        change(thin_folder(folder, version))
        image = squash(folder, self.folder / f"{version}.img")
        shutil.rmtree(folder)
        return image


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UpdateError(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")
