"""A root comes into force: signatures are gathered, keys that come with it sign what stands, folders follow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tuf.api.metadata import Metadata, Root

from tools.release import keyring, repository, roots, signers
from tools.release.signers import KeySigner

ROLES: tuple[roots.Role, ...] = ("targets", "snapshot", "timestamp")
WAITS = 3  # exit code: more signatures are needed


def put(repo: Path, folder: Path | None, draft: Metadata[Root], by: list[KeySigner]) -> int:
    """0 in force, 3 it waits for signatures."""
    number = draft.signed.version
    with repository.changing(repo):
        if number > 1 and folder is not None:
            for role, signer in _coming(folder, draft):
                roots.co_sign(repo, role, signer)
        lacks = roots.sign(repo, draft, by)
    if lacks:
        print(f"{repo / roots.DRAFT}: version {number} of the root waits for:")
        for words in lacks:
            print(f"  {words}")
        print("where the keys are: tools/release.sh keys sign REPO --by KEY")
        return WAITS
    print(f"{repo}: root version {number} is in force, until {draft.signed.expires:%Y-%m-%d}")
    if folder is not None:
        for line in keyring.settle(folder, draft):
            print(line)
        (folder / keyring.FOR_BOXES).mkdir(exist_ok=True)
        (folder / keyring.FOR_BOXES / "root.json").write_bytes(draft.to_bytes())
    return 0


def _coming(folder: Path, draft: Metadata[Root]) -> Iterator[tuple[roots.Role, KeySigner]]:
    """Keys that this root brings for the three roles."""
    for role in ROLES:
        following = keyring.coming(keyring.place(folder, role))
        if following.exists() and keyring.public(following).keyid in draft.signed.roles[role].keyids:
            yield role, signers.load(keyring.reference(following))
