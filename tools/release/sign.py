"""Makes a signed RAUC bundle of a release image: VERSION-HARDWARE-SHA16.raucb.

The key may be in hardware (pkcs11:...). `plain` bundles are read through before they are installed; `verity` ones are
checked while they are read, and need device-mapper on the box.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from edge.errors import UpdateError, UsageError
from tools.release import image, keyring, options, repository, signers

HELP = "make a RAUC bundle of an image"
PLAIN_MOST = 2 << 30  # RAUC before 1.15.2 signs the first 2 GiB of a plain bundle alone (CVE-2026-34155)
_MANIFEST = """[update]
compatible={hardware}
version={version}
[bundle]
format={format}
[image.app]
filename=app.img
"""
_READER = "[system]\ncompatible=x\nbootloader=noop\n[keyring]\npath={path}\ncheck-purpose=codesign\ncheck-crl=true\n"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", type=Path, metavar="IMAGE", help="as `build` makes it")
    parser.add_argument("--hardware", required=True, metavar="H", help="one of those that the release says it is for")
    parser.add_argument("--cert", type=Path, metavar="C", help="the certificate (default: release/signing of --keys)")
    parser.add_argument("--format", choices=("plain", "verity"), default="plain", help="(%(default)s)")
    parser.add_argument("--ca", type=Path, metavar="PEM", help="release-ca.pem: what boxes will check it against")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR")
    options.keys(parser)


def main(asked: argparse.Namespace) -> int:
    release = image.release(asked.image)
    if asked.hardware not in release.hardware:
        raise UpdateError(f"{asked.image}: it is for {', '.join(release.hardware)}, not {asked.hardware}")
    key, certificate, authority = _signing(asked)
    made = bundle(
        asked.image, release.version, asked.hardware, key=key, certificate=certificate, to=asked.to, format=asked.format
    )
    if authority is not None:
        try:
            verify(made, authority)
        except UpdateError:
            made.unlink()
            raise
    print(made)
    return 0


def bundle(
    content: Path, version: str, hardware: str, *, key: str, certificate: Path, to: Path, format: str = "plain"
) -> Path:
    """Returns where it is. The image is not changed."""
    if format == "plain" and content.stat().st_size >= PLAIN_MOST:
        mib = content.stat().st_size >> 20
        raise UpdateError(f"{content}: {mib} MiB: a plain bundle has to be below {PLAIN_MOST >> 20} (--format verity)")
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to, prefix=".sign-") as scratch, _readable(key) as (path, descriptors):
        folder, made = Path(scratch, "content"), Path(scratch, "made.raucb")
        folder.mkdir()
        _link(content, folder / "app.img")
        words = _MANIFEST.format(hardware=hardware, version=version, format=format)
        (folder / "manifest.raucm").write_text(words, encoding="utf-8")  # RAUC writes it anew
        command = ["rauc", "--cert", str(certificate), "--key", path, "bundle", str(folder), str(made)]
        image.run(command, str(content), pass_fds=descriptors)
        target = to / Path(repository.described(made, version, hardware).url).name
        made.replace(target)
    return target


def verify(made: Path, authority: Path) -> None:
    """As a box does. Raises UpdateError: it would refuse it."""
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch, "rauc.conf")
        config.write_text(_READER.format(path=authority.resolve()), encoding="utf-8")
        image.run(["rauc", "-c", str(config), "info", str(made)], str(made))


def _signing(asked: argparse.Namespace) -> tuple[str, Path, Path | None]:
    key, certificate, authority = dict(asked.key).get("signing"), asked.cert, asked.ca
    if asked.keys is not None:
        at = keyring.place(asked.keys, "signing")
        key, certificate = key or keyring.reference(at), certificate or at / "certificate.pem"
        found = asked.keys / keyring.FOR_BOXES / "release-ca.pem"
        authority = authority or (found if found.exists() else None)
    if key is None or certificate is None:
        raise UsageError("--keys DIR, or both --key signing=KEY and --cert C, are needed")
    return key, certificate, authority


@contextmanager
def _readable(key: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """As RAUC takes it: one with a passphrase is deciphered into memory alone."""
    if key.startswith(signers.URI) or not signers.encrypted(Path(key)):
        yield key, ()
        return
    try:
        private = load_pem_private_key(Path(key).read_bytes(), signers.passphrase(Path(key)))
    except (ValueError, TypeError) as exc:
        raise UpdateError(f"{key}: the wrong passphrase: {exc}") from exc
    number = os.memfd_create("key")
    try:
        os.write(number, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        yield f"/dev/fd/{number}", (number,)
    finally:
        os.close(number)


def _link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where that cannot be."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
