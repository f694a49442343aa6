"""Keys: made, replaced, taken back.

new     all keys that releases need, sorted by where they belong (--to DIR): N root keys, keys of three roles, RAUC's
        authority and signing certificate
renew   the same root again, valid anew: once a year
rotate  another key for a role (targets, snapshot, timestamp), another root key (root-2), or another signing certificate
revoke  the same when a key is stolen or lost; root-2: without another one, where enough are left; signing: its
        certificate goes on the list that release-ca.pem brings to boxes
sign    adds signatures to a root that waits for them, by whoever has the next key
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path

from tuf.api.metadata import Metadata, Root

from edge.errors import UpdateError, UsageError
from tools.release import ceremony, certificates, keyring, options, repository, roots, signers

HELP = "make, renew, rotate, revoke keys"
_ROLES = ceremony.ROLES


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="new | renew | rotate | revoke | sign")
    new = verbs.add_parser("new", help="all that releases need")
    new.add_argument("--to", type=Path, required=True, metavar="DIR", help="must not be there yet")
    new.add_argument("--root", type=int, default=3, metavar="N", help="root keys (%(default)s)")
    new.add_argument("--threshold", type=int, default=2, metavar="M", help="so many of them sign a root (%(default)s)")
    new.add_argument("--passphrase", action="store_true", help="asks for one, for all but the online keys")
    new.add_argument("--name", default="EndoEdge releases", help="of RAUC's authority (%(default)s)")
    _hardware(new)
    new.set_defaults(act=_new)
    for verb, act, words in (
        ("rotate", _rotate, "another key in the place of one"),
        ("revoke", _revoke, "a key is stolen or lost"),
    ):
        one = verbs.add_parser(verb, help=words)
        one.add_argument("--role", required=True, metavar="NAME", help=f"root-1, ..., {', '.join(_ROLES)}, signing")
        one.add_argument("--repository", type=Path, metavar="REPO", help="whose root changes (all but signing)")
        one.add_argument("--old", default="", metavar="KEYID", help="when the folder does not say which key it is")
        one.add_argument("--passphrase", action="store_true", help="asks for one, for the new key")
        _hardware(one)
        options.keys(one)
        options.by(one)
        one.set_defaults(act=act)
    for verb, act, words in (("renew", _renew, "the root again"), ("sign", _sign, "a root that waits for signatures")):
        one = verbs.add_parser(verb, help=words)
        options.repository(one)
        options.keys(one)
        options.by(one)
        one.set_defaults(act=act)


def main(asked: argparse.Namespace) -> int:
    code: int = asked.act(asked)
    return code


# ----------------------------------------------------------------------------------------------------- new


def _new(asked: argparse.Namespace) -> int:
    if not 1 <= asked.threshold <= asked.root <= 99:
        raise UsageError(f"--threshold {asked.threshold}: expected 1 to {asked.root}, the number of root keys")
    to: Path = asked.to
    if to.exists() and any(to.iterdir()):
        raise UpdateError(f"{to}: keys, or something else, are there already")
    hardware, secret = dict(asked.hardware), _passphrase(asked.passphrase)
    for name in [*(f"root-{number}" for number in range(1, asked.root + 1)), *_ROLES]:
        _make(to, name, hardware, secret)
    (to / "offline" / "threshold").write_text(f"{asked.threshold}\n", encoding="ascii")
    authority = keyring.place(to, "ca")
    by = _make(to, "ca", hardware, secret)
    certificates.authority(by, authority, asked.name)
    _certify(to, _make(to, "signing", hardware, secret), by, keyring.place(to, "signing"))
    certificates.for_boxes([authority], to / keyring.FOR_BOXES / "release-ca.pem")
    print(f"{to}/offline: {asked.root} root keys, of which {asked.threshold} sign, and RAUC's authority: each belongs")
    print("  on a medium of its own, offline, with a copy in another safe; its key.pem is then deleted here")
    print(f"{to}/release: stays with whoever publishes; certificate {_said(to)}")
    print(f"{to}/online: to the machine whose cron runs `tools/release.sh refresh`")
    print(f"{to}/{keyring.FOR_BOXES}/release-ca.pem: for boxes, with root.json of `tools/release.sh init`")
    return 0


def _make(folder: Path, name: str, hardware: dict[str, str], secret: bytes) -> str:
    at = keyring.place(folder, name)
    curve, online = name in ("ca", "signing"), name in ("snapshot", "timestamp")  # a cron job has nobody to ask
    return keyring.make(at, hardware=hardware.get(name, ""), passphrase=b"" if online else secret, curve=curve)


def _certify(folder: Path, key: str, by: str, at: Path) -> None:
    number = repository.now().strftime("%Y-%m-%d")
    certificates.signing(key, f"EndoEdge signing {number}", by, keyring.place(folder, "ca"), at / "certificate.pem")


def _said(folder: Path) -> str:
    return certificates.said(keyring.place(folder, "signing") / "certificate.pem")


def _hardware(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hardware",
        type=_named,
        action="append",
        default=[],
        metavar="NAME=URI",
        help="that key is in hardware already: its PKCS#11 URI (EC P-256); RAUC_PKCS11_MODULE and RAUC_PKCS11_PIN",
    )


def _named(text: str) -> tuple[str, str]:
    name, _, uri = text.partition("=")
    if not uri.startswith(signers.URI):
        raise argparse.ArgumentTypeError(f"{text}: expected NAME=pkcs11:...")
    return name, uri


def _passphrase(wanted: bool) -> bytes:
    given = os.environ.get(signers.PASSPHRASE, "")
    if given or not wanted:
        return given.encode()
    if not sys.stdin.isatty():
        raise UsageError(f"--passphrase: nobody to ask: set {signers.PASSPHRASE}")
    first, second = getpass.getpass("Passphrase of the new keys: "), getpass.getpass("Again: ")
    if not first or first != second:
        raise UsageError("--passphrase: the two differ, or are empty")
    os.environ[signers.PASSPHRASE] = first  # openssl, which signs the first certificates, is not to ask again
    return first.encode()


# ----------------------------------------------------------------------------------------- rotate, revoke


def _rotate(asked: argparse.Namespace) -> int:
    if asked.role == "signing":
        return _another_certificate(asked)
    return _replace(asked, another=True)


def _revoke(asked: argparse.Namespace) -> int:
    if asked.role == "signing":
        return _revoked_certificate(asked)
    code = _replace(asked, another=asked.role in _ROLES or bool(asked.hardware))
    if asked.role in _ROLES:
        print("look at what is offered (tools/release.sh status): who had the key may have changed it. Publish anew")
    return code


def _replace(asked: argparse.Namespace, *, another: bool) -> int:
    """A key of the root's or of a role's goes, and another one comes or none."""
    folder, repo = options.folder_of_keys(asked), _repository(asked)
    at, role = keyring.place(folder, asked.role), _role(asked.role)
    draft = roots.successor(repo)
    old = _old(asked, draft, role, at)
    following = keyring.coming(at)
    if another and not following.exists():  # it is, when we were cut off
        secret = b"" if role in ("snapshot", "timestamp") else _passphrase(asked.passphrase)
        keyring.make(following, hardware=dict(asked.hardware).get(asked.role, ""), passphrase=secret)
    roots.replace(draft, role, old, keyring.public(following) if another else None)
    by = options.root_signers(asked)
    if another and role == "root":
        by.append(signers.load(keyring.reference(following)))
    return ceremony.put(repo, folder, draft, by)


def _old(asked: argparse.Namespace, draft: Metadata[Root], role: roots.Role, at: Path) -> str:
    """Which key goes."""
    keys = draft.signed.roles[role].keyids
    if asked.old:
        found = [key for key in keys if key.startswith(asked.old)]
        if len(found) != 1:
            raise UsageError(f"--old {asked.old}: {role} has the keys {' '.join(key[:16] for key in keys)}")
        return found[0]
    if role != "root" and len(keys) == 1:
        return keys[0]
    return keyring.public(at).keyid


def _role(name: str) -> roots.Role:
    for role in _ROLES:
        if name == role:
            return role
    if name.startswith("root-"):
        return "root"
    raise UsageError(f"--role {name}: expected root-1, root-2, ..., {', '.join(_ROLES)}, signing")


def _another_certificate(asked: argparse.Namespace) -> int:
    """The old one stays good for what it has signed."""
    folder = options.folder_of_keys(asked)
    at = keyring.place(folder, "signing")
    following, by = keyring.coming(at), keyring.reference(keyring.place(folder, "ca"))
    hardware = dict(asked.hardware).get("signing", "")
    secret = _passphrase(asked.passphrase)
    if following.exists():  # we were cut off
        key = keyring.reference(following)
    else:
        key = keyring.make(following, hardware=hardware, passphrase=secret, curve=True)
    _certify(folder, key, by, following)
    for line in keyring.retire(at):
        print(line)
    following.rename(at)
    print(f"{at}: certificate {_said(folder)}")
    return 0


def _revoked_certificate(asked: argparse.Namespace) -> int:
    folder = options.folder_of_keys(asked)
    authority = keyring.place(folder, "ca")
    certificate = keyring.place(folder, "signing") / "certificate.pem"
    if asked.old:
        found = sorted((folder / "release").glob(f"signing*{asked.old}/certificate.pem"))
        if len(found) != 1:
            raise UsageError(f"--old {asked.old}: no such folder {folder}/release/signing.retired-{asked.old}")
        certificate = found[0]
    certificates.revoke(certificate, keyring.reference(authority), authority)
    print(f"{certificate}: revoked ({certificates.said(certificate)})")
    if not asked.old:
        _another_certificate(asked)
    to = folder / keyring.FOR_BOXES / "release-ca.pem"
    certificates.for_boxes([authority], to)
    print(f"{to}: has to reach the boxes with the system part (tools/install.sh), for RAUC there to refuse it")
    print(
        "until then TUF keeps them safe: a bundle that no offer names is not installed. What is offered and was signed"
    )
    print("with it: tools/release.sh sign and publish it again, before boxes get the new list")
    return 0


# ------------------------------------------------------------------------------------------- renew, sign


def _renew(asked: argparse.Namespace) -> int:
    return ceremony.put(asked.repository, asked.keys, roots.successor(asked.repository), options.root_signers(asked))


def _sign(asked: argparse.Namespace) -> int:
    return ceremony.put(asked.repository, asked.keys, roots.read_draft(asked.repository), options.root_signers(asked))


def _repository(asked: argparse.Namespace) -> Path:
    if asked.repository is None:
        raise UsageError("--repository REPO is needed")
    repo: Path = asked.repository
    return repo
