"""Begins a repository: the first root, signed by the threshold of root keys, and nothing offered yet."""

from __future__ import annotations

import argparse
from pathlib import Path

from securesystemslib.signer import Key

from edge.errors import UsageError
from tools.release import ceremony, keyring, options, repository, roots

HELP = "begin a repository"


def arguments(parser: argparse.ArgumentParser) -> None:
    options.repository(parser)
    options.keys(parser)
    options.by(parser)
    parser.add_argument("--threshold", type=int, metavar="M", help="default: what `keys new` was told")


def main(asked: argparse.Namespace) -> int:
    """0 it stands, 3 its root waits for more signatures."""
    folder = options.folder_of_keys(asked)
    keys = keyring.release_keys(folder, dict(asked.key))
    publics = [keyring.public(at) for at in keyring.roots(folder).values()]
    if not publics:
        raise UsageError(f"{folder}/offline/root-1/public.pem: not there; expected the root keys' public halves")
    others: dict[roots.Role, Key] = {
        "targets": keys.targets.public_key,
        "snapshot": keys.snapshot.public_key,
        "timestamp": keys.timestamp.public_key,
    }
    draft = roots.begin(publics, asked.threshold or _threshold(folder), others)
    repository.create(asked.repository, keys)
    return ceremony.put(asked.repository, folder, draft, options.root_signers(asked))


def _threshold(folder: Path) -> int:
    try:
        return int((folder / "offline" / "threshold").read_text(encoding="ascii"))
    except (OSError, ValueError) as exc:
        raise UsageError("--threshold M is needed: how many root keys sign a root") from exc
