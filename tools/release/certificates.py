"""RAUC's side of trust: an authority that is offline, certificates that sign bundles, and which of them are revoked.

All by openssl, so that the private keys may be in hardware. Boxes get one file, `release-ca.pem`: the authority's
certificate and its list of revoked ones, which RAUC (`check-crl`) then insists on. That list is valid as long as the
authority: a box that is off for years must not refuse everything when it is back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from edge.errors import UpdateError
from tools.release.signers import openssl, openssl_key, secret

AUTHORITY_DAYS = 20 * 365
LEAF_DAYS = 2 * 365
_AUTHORITY = (
    "basicConstraints=critical,CA:TRUE,pathlen:0",
    "keyUsage=critical,keyCertSign,cRLSign",
    "subjectKeyIdentifier=hash",
)
_LEAF = """basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=codeSigning
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
"""
_CONFIG = """[ca]
default_ca=endoedge
[endoedge]
database={folder}/index.txt
crlnumber={folder}/crlnumber
default_md=sha256
unique_subject=no
"""


def authority(key: str | Path, folder: Path, name: str) -> Path:
    """`folder/certificate.pem`, and an empty list of revoked ones beside it."""
    certificate = folder / "certificate.pem"
    command = ["req", "-x509", "-new", "-sha256", *openssl_key("-key", key), *secret(key)]
    command += ["-subj", f"/CN={name}", "-days", str(AUTHORITY_DAYS), "-out", str(certificate)]
    for line in _AUTHORITY:
        command += ["-addext", line]
    openssl(command)
    (folder / "index.txt").touch()
    (folder / "crlnumber").write_text("01\n", encoding="ascii")
    _list(key, folder)
    return certificate


def signing(key: str | Path, name: str, by: str | Path, folder: Path, to: Path) -> None:
    """A certificate for that key, by the authority in `folder` whose key is `by`."""
    with tempfile.TemporaryDirectory() as scratch:
        extensions, request = Path(scratch, "leaf.ext"), Path(scratch, "request.pem")
        extensions.write_text(_LEAF, encoding="ascii")
        openssl(["req", "-new", *openssl_key("-key", key), *secret(key), "-subj", f"/CN={name}", "-out", str(request)])
        command = ["x509", "-req", "-sha256", "-in", str(request), "-CA", str(folder / "certificate.pem")]
        command += [*openssl_key("-CAkey", by), *secret(by), "-extfile", str(extensions), "-days", str(LEAF_DAYS)]
        openssl([*command, "-out", str(to)])


def revoke(certificate: Path, by: str | Path, folder: Path) -> None:
    """Puts it on the authority's list. Raises UpdateError: it is there already, or another authority's."""
    authority = folder / "certificate.pem"
    openssl(["verify", "-purpose", "any", "-no_check_time", "-CAfile", str(authority), str(certificate)])
    _ca(["-revoke", str(certificate)], by, folder)
    _list(by, folder)


def for_boxes(folders: Sequence[Path], to: Path) -> None:
    """`release-ca.pem`: of each authority, its certificate and its list."""
    parts = [(folder / name).read_bytes() for folder in folders for name in ("certificate.pem", "revoked.pem")]
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(b"".join(parts))


def said(certificate: Path) -> str:
    """Its name and its end, for people."""
    words = openssl(["x509", "-in", str(certificate), "-noout", "-subject", "-enddate", "-nameopt", "RFC2253"]).decode()
    lines = dict(line.split("=", 1) for line in words.splitlines())
    return f"{lines['subject'].strip()}, valid until {lines['notAfter']}"


def _list(by: str | Path, folder: Path) -> None:
    _ca(["-gencrl", "-crldays", str(AUTHORITY_DAYS), "-out", str(folder / "revoked.pem")], by, folder)


def _ca(arguments: list[str], by: str | Path, folder: Path) -> None:
    if not (folder / "index.txt").exists():
        raise UpdateError(f"{folder}: no authority of `keys new`: index.txt is not there")
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch, "ca.cnf")
        config.write_text(_CONFIG.format(folder=folder.resolve()), encoding="utf-8")
        command = ["ca", "-batch", "-config", str(config), *openssl_key("-keyfile", by), *secret(by)]
        openssl([*command, "-cert", str(folder / "certificate.pem"), *arguments])
