#!/usr/bin/env python3
"""Signs the answers to a console's challenges. Runs where the private key is, never on a box; needs no network.

tools/service_token.py keys NAME                         # NAME.key (private, keep it) and NAME.pem (for the boxes)
tools/service_token.py sign --key NAME.key --name "A. Engineer" --device theatre-3 --nonce 1f3a...
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: E402
from cryptography.hazmat.primitives.serialization import (  # noqa: E402
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from edge.console import tokens  # noqa: E402
from edge.console.tokens import Claims, Right  # noqa: E402

RIGHTS: tuple[Right, ...] = ("diagnose", "restart")
MINUTES = 60
PASSPHRASE = "ENDOEDGE_KEY_PASSPHRASE"  # of scripts; people are asked


def make_keys(stem: Path, passphrase: str) -> tuple[Path, Path]:
    """The private and the public file. An existing private key is never written over."""
    private = Ed25519PrivateKey.generate()
    kept: KeySerializationEncryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    key, pem = stem.with_name(stem.name + ".key"), stem.with_name(stem.name + ".pem")
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, kept))
    pem.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return key, pem


def sign(key: Path, passphrase: str, claims: Claims) -> str:
    """Raises ValueError or TypeError: no Ed25519 key, or the wrong passphrase."""
    private = load_pem_private_key(key.read_bytes(), passphrase.encode() or None)
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError("not an Ed25519 key")
    return tokens.encode(claims, private.sign)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    keys = commands.add_parser("keys", help="make a pair of keys")
    keys.add_argument("stem", type=Path, metavar="NAME")
    signing = commands.add_parser("sign", help="print a token")
    signing.add_argument("--key", type=Path, required=True, metavar="FILE")
    signing.add_argument("--name", required=True, help="the service engineer's, for the box's audit log")
    signing.add_argument("--device", required=True, help="as the box's `login` shows it")
    signing.add_argument("--nonce", required=True, help="as the box's `login` shows it")
    signing.add_argument("--rights", nargs="*", choices=RIGHTS, default=list(RIGHTS))
    signing.add_argument("--minutes", type=int, default=MINUTES, help="how long the login may last (%(default)s)")
    options = parser.parse_args(argv)
    try:
        return _keys(options) if options.command == "keys" else _sign(options)
    except (OSError, ValueError, TypeError) as exc:
        print(f"service_token: {exc}", file=sys.stderr)
        return 1


def _keys(options: argparse.Namespace) -> int:
    passphrase = _ask("passphrase for the new key (empty: none): ")
    for path in make_keys(options.stem, passphrase):
        print(path)
    return 0


def _sign(options: argparse.Namespace) -> int:
    now = int(time.time())
    claims = Claims(
        device=options.device,
        nonce=options.nonce.lower(),
        name=options.name,
        issued=now,
        not_after=now + options.minutes * 60,
        rights=tuple(options.rights),
    )
    encrypted = b"ENCRYPTED" in options.key.read_bytes()
    print(sign(options.key, _ask("passphrase: ") if encrypted else "", claims))
    return 0


def _ask(question: str) -> str:
    said = os.environ.get(PASSPHRASE)
    return getpass.getpass(question) if said is None else said


if __name__ == "__main__":
    sys.exit(main())
