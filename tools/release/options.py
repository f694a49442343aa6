"""What several commands ask for in the same words."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from edge.errors import UsageError
from tools.release import keyring, signers

NAMES = ("targets", "snapshot", "timestamp", "signing", "ca")


def repository(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repository", type=Path, metavar="REPO", help="the folder that is served")


def keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keys", type=Path, metavar="DIR", help="a folder as `keys new` makes it, or a part of one")
    parser.add_argument(
        "--key",
        type=_named,
        action="append",
        default=[],
        metavar="ROLE=KEY",
        help="instead of the folder's: a PEM file or a pkcs11: URI",
    )


def by(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="KEY",
        help="a root key that signs: a PEM file or a pkcs11: URI (default: those that are in --keys DIR)",
    )


def root_signers(options: argparse.Namespace) -> list[signers.KeySigner]:
    """Those that were given, or those of the folder whose private halves are there."""
    given: Sequence[str] = options.by
    if not given and options.keys is not None:
        here = keyring.roots(options.keys).values()
        given = [keyring.reference(at) for at in here if (at / "key.pem").exists() or (at / "key.uri").exists()]
    return [signers.load(one) for one in given]


def folder_of_keys(options: argparse.Namespace) -> Path:
    if options.keys is None:
        raise UsageError("--keys DIR is needed")
    folder: Path = options.keys
    return folder


def _named(text: str) -> tuple[str, str]:
    name, _, key = text.partition("=")
    if name not in NAMES or not key:
        raise argparse.ArgumentTypeError(f"{text}: expected ROLE=KEY with ROLE one of {', '.join(NAMES)}")
    return name, key
