"""The root: which keys sign what. It changes seldom, by a threshold of offline keys, and each change is a new file
that the one before vouches for: a box follows the chain from the first root that it was installed with.

A root that lacks signatures is a draft (`root.draft.json`), carried from key to key until there are enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from edge.errors import UpdateError
from tools.release import repository

Role = Literal["root", "targets", "snapshot", "timestamp"]
DRAFT = "root.draft.json"


def begin(
    roots: Sequence[Key], threshold: int, others: Mapping[Role, Key], at: datetime | None = None
) -> Metadata[Root]:
    """The first root, not signed. Raises UpdateError: a threshold that cannot be reached, or one key with two roles."""
    if not 1 <= threshold <= len(roots):
        raise UpdateError(f"threshold {threshold}: expected 1 to {len(roots)}, the number of root keys")
    keys = [*roots, *others.values()]
    if len({key.keyid for key in keys}) < len(keys):
        raise UpdateError("one key was given for two purposes: each needs a key of its own")
    root = Root(version=1, expires=_expiry(at), consistent_snapshot=True)
    for key in roots:
        root.add_key(key, Root.type)
    for role, key in others.items():
        root.add_key(key, role)
    root.roles[Root.type].threshold = threshold
    return Metadata(root)


def successor(folder: Path, at: datetime | None = None) -> Metadata[Root]:
    """The newest root again, as a draft of the next one: not signed, valid anew."""
    root = repository.newest_root(folder).signed
    root.version, root.expires = root.version + 1, _expiry(at)
    return Metadata(root)


def replace(draft: Metadata[Root], role: Role, old: str | None, new: Key | None) -> None:
    """Takes the key with that id from the role, puts the new one in its place. Raises UpdateError: it is not one of
    the role's, or too few would be left."""
    root = draft.signed
    keys = root.roles[role].keyids
    if new is not None and any(new.keyid in one.keyids for one in root.roles.values()):
        raise UpdateError(f"key {new.keyid[:16]}: it has a role already; a new key was expected")
    if old is not None and old not in keys:
        raise UpdateError(f"key {old[:16]}: not one of {role}'s: {', '.join(key[:16] for key in keys)}")
    left = len(keys) - (old is not None) + (new is not None)
    if left < root.roles[role].threshold:
        raise UpdateError(
            f"{role}: {left} keys would be left, {root.roles[role].threshold} have to sign: give a new one"
        )
    if old is not None:
        root.revoke_key(old, role)
    if new is not None:
        root.add_key(new, role)


def sign(folder: Path, draft: Metadata[Root], by: Sequence[Signer]) -> list[str]:
    """What is still wanting, for people; empty: it is whole, and in place."""
    before = None if draft.signed.version == 1 else repository.newest_root(folder)
    wanted = set(draft.signed.roles[Root.type].keyids) | set(before.signed.roles[Root.type].keyids if before else ())
    for signer in by:
        if signer.public_key.keyid not in wanted:
            raise UpdateError(f"key {signer.public_key.keyid[:16]}: not a root key of version {draft.signed.version}")
        draft.sign(signer, append=True)
    lacks = wanting(before, draft) or unready(folder, draft)
    if not lacks:
        repository.put_metadata(folder, f"{draft.signed.version}.root.json", draft)
        (folder / DRAFT).unlink(missing_ok=True)
    else:
        repository.place(folder / DRAFT, lambda file: file.write(draft.to_bytes()))
    return lacks


def wanting(before: Metadata[Root] | None, draft: Metadata[Root]) -> list[str]:
    """Signatures that the new root's own keys, and those of the one before, have still to give."""
    lacks = []
    for owner in (before, draft) if before else (draft,):
        found = owner.signed.get_verification_result(Root.type, draft.signed_bytes, draft.signatures)
        if not found.verified:
            names = " ".join(sorted(key[:16] for key in found.unsigned))
            lacks.append(f"{found.missing} more of version {owner.signed.version}'s keys: {names}")
    return lacks


def unready(folder: Path, draft: Metadata[Root]) -> list[str]:
    """What stands in the repository and would not hold any more with that root in force."""
    lacks = []
    for role, (name, metadata) in repository.files(folder).items():
        try:
            draft.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        except RepositoryError:
            keys = " ".join(key[:16] for key in draft.signed.roles[role].keyids)
            lacks.append(f"{name}, signed with {role}'s key {keys}: `keys sign` where that key is (--keys DIR)")
    return lacks


def read_draft(folder: Path) -> Metadata[Root]:
    """Raises UpdateError: there is none, or it is not a successor of what stands."""
    file = folder / DRAFT
    try:
        found: Metadata[Root] = Metadata.from_bytes(file.read_bytes())
    except (OSError, RepositoryError) as exc:
        raise UpdateError(f"{file}: no root that lacks signatures: {exc}") from exc
    standing = [int(path.name.split(".")[0]) for path in (folder / "metadata").glob("[0-9]*.root.json")]
    if not isinstance(found.signed, Root) or found.signed.version != max(standing, default=0) + 1:
        raise UpdateError(f"{file}: expected version {max(standing, default=0) + 1} of the root")
    return found


def co_sign(folder: Path, role: Role, signer: Signer) -> None:
    """Adds the coming key's signature to what the old one has signed, so that there is no moment in which a reader's
    root and the metadata do not fit: the old root knows the old signature, the new root the new one."""
    repository.read(folder)  # nothing foreign is signed
    name, metadata = repository.files(folder)[role]
    metadata.sign(signer, append=True)
    repository.put_metadata(folder, name, metadata)


def _expiry(at: datetime | None) -> datetime:
    return (at or repository.now()) + timedelta(days=repository.DAYS["root"])
