"""A folder of keys, sorted by where they belong.

    offline/root-1 .. root-N, offline/ca   on media of their own, in different people's safes; a few times a year
    release/targets, release/signing       with whoever publishes releases
    online/snapshot, online/timestamp      on the machine whose cron signs that nothing has changed (`refresh`)
    for-boxes/                             no secrets: release-ca.pem, root.json

Each is a folder with `key.pem` (private, mode 0600) or `key.uri` (a PKCS#11 URI: the key is in hardware), and
`public.pem` or `certificate.pem`. Whatever is not there is not needed for what is done where it is not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Metadata, Root

from edge.errors import UpdateError, UsageError
from tools.release import repository, signers
from tools.release.signers import KeySigner

PLACES = {
    "ca": "offline/ca",
    "targets": "release/targets",
    "signing": "release/signing",
    "snapshot": "online/snapshot",
    "timestamp": "online/timestamp",
}
FOR_BOXES = "for-boxes"
_NEXT, _RETIRED = ".next", ".retired-"
_ROOT = re.compile(r"root-[1-9][0-9]?")


def place(folder: Path, name: str) -> Path:
    """Where the key of that name belongs. Raises UsageError: there is no such name."""
    if _ROOT.fullmatch(name):
        return folder / "offline" / name
    if name not in PLACES:
        raise UsageError(f"key {name}: expected root-1, root-2, ..., {', '.join(PLACES)}")
    return folder / PLACES[name]


def reference(at: Path) -> str:
    """The private key in that folder: a path or a URI. Raises UpdateError: it is elsewhere."""
    uri = at / "key.uri"
    if uri.exists():
        return uri.read_text(encoding="utf-8").strip()
    if not (at / "key.pem").exists():
        raise UpdateError(f"{at}: expected key.pem, or key.uri with a PKCS#11 URI")
    return str(at / "key.pem")


def public(at: Path) -> SSlibKey:
    return signers.public(at / "public.pem")


def roots(folder: Path) -> dict[str, Path]:
    """The root keys whose public halves are here, private ones or not."""
    found = [path for path in (folder / "offline").glob("root-*") if _ROOT.fullmatch(path.name)]
    return {path.name: path for path in sorted(found, key=lambda path: int(path.name[5:]))}


def make(at: Path, *, hardware: str = "", passphrase: bytes = b"", curve: bool = False) -> str:
    """A new key in a new folder, or the one in hardware with that URI. `curve`: EC P-256, as RAUC needs it. Returns its
    reference. Raises UpdateError: a key is there already; it is never written over."""
    at.parent.mkdir(parents=True, exist_ok=True)
    try:
        at.mkdir(mode=0o700)
    except FileExistsError as exc:
        raise UpdateError(f"{at}: a key is there already") from exc
    if hardware:
        key = signers.public(hardware)
        (at / "key.uri").write_text(hardware + "\n", encoding="utf-8")
    else:
        private = generate_private_key(SECP256R1()) if curve else Ed25519PrivateKey.generate()
        kept: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        with os.fdopen(os.open(at / "key.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, kept))
        key = signers.of(private).public_key
    (at / "public.pem").write_bytes(signers.public_pem(key))
    return reference(at)


def release_keys(folder: Path | None, given: Mapping[str, str]) -> repository.Keys:
    return repository.Keys(*(signer(folder, name, given) for name in ("targets", "snapshot", "timestamp")))


def signer(folder: Path | None, name: str, given: Mapping[str, str]) -> KeySigner:
    """The one that was given for that name, or the folder's."""
    if name in given:
        return signers.load(given[name])
    if folder is None:
        raise UsageError(f"--keys DIR or --key {name}=KEY is needed")
    return signers.load(reference(place(folder, name)))


def coming(at: Path) -> Path:
    """Where the key waits that is to take that one's place."""
    return at.with_name(at.name + _NEXT)


def settle(folder: Path, root: Metadata[Root]) -> list[str]:
    """Gives the keys that have come into use their places, as the root in force says; what they did, for people."""
    keys, said = root.signed.keys, []
    for following in sorted(folder.glob(f"*/*{_NEXT}")):
        if public(following).keyid not in keys:
            continue
        at = following.with_name(following.name.removesuffix(_NEXT))
        said += retire(at)
        following.rename(at)
        said.append(f"{at} is the key {public(at).keyid[:16]} from now on")
    for at in roots(folder).values():
        if (at / "public.pem").exists() and public(at).keyid not in keys:
            said += retire(at)
    return said


def retire(at: Path) -> list[str]:
    if not at.exists():
        return []
    aside = at.with_name(f"{at.name}{_RETIRED}{public(at).keyid[:8]}")
    at.rename(aside)
    return [f"{aside} is not used any more"]
