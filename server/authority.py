"""Our own certificate authority, for boxes' client certificates: a key and a certificate in a folder of the server's
data, the same on each machine that serves. Where there is none, boxes come by token.

A certificate names one device. That it is signed says who made it; that it is good, the table `boxes` says
(`server.enrolment`), by its digest.
"""

from __future__ import annotations

import datetime
import hashlib
import os
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge.durable import write_atomically
from server.errors import RefusedError, ServerError

CSR_MOST = 8 << 10  # characters
BOX_DAYS, OWN_DAYS = 365, 3650
_EARLIER = datetime.timedelta(hours=1)  # a box's clock may be behind
_PEM = serialization.Encoding.PEM


def folder(data: Path) -> Path:
    return data / "authority"


def certificate_file(data: Path) -> Path | None:
    """Who signs boxes' certificates, for TLS; None where nobody does."""
    file = folder(data) / "ca.pem"
    return file if file.is_file() else None


def init(data: Path, name: str) -> Path:
    """Makes it; its certificate's file. Raises ServerError where there is one: another key would lock every box out."""
    place = folder(data)
    if (place / "ca.pem").exists():  # a key alone has signed nothing yet
        raise ServerError(f"{place}: there is an authority; another one would lock out every box that it certified")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    own = (
        _builder(subject, subject, key.public_key(), OWN_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(place / "key.pem", secret)  # readable by its owner alone
        write_atomically(place / "ca.pem", own.public_bytes(_PEM))
    except OSError as exc:
        raise ServerError(f"{exc.filename or place}: {exc.strerror}") from exc
    return place / "ca.pem"


class Authority:
    """Raises ServerError where its files are not there or do not fit each other."""

    def __init__(self, data: Path) -> None:
        place = folder(data)
        try:
            self._key: Any = serialization.load_pem_private_key((place / "key.pem").read_bytes(), None)
            self.certificate = x509.load_pem_x509_certificate((place / "ca.pem").read_bytes())
        except OSError as exc:
            raise ServerError(f"{exc.filename}: {exc.strerror}: `endoedge-server authority init` makes it") from exc
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise ServerError(f"{place}: expected key.pem and ca.pem of an authority: {exc}") from exc
        if _public(self._key.public_key()) != _public(self.certificate.public_key()):
            raise ServerError(f"{place}: key.pem is not the key of ca.pem")

    def certify(self, device: str, csr: str) -> tuple[str, str]:
        """A certificate for `device` with the CSR's key, followed by ours (PEM), and its digest. What the CSR says of a
        name is not looked at. Raises RefusedError."""
        key = _key_of(csr)
        names = [x509.UniformResourceIdentifier(f"urn:endoedge:box:{device}")]
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        made = (
            _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)]), self._subject, key, BOX_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        chain = made.public_bytes(_PEM) + self.certificate.public_bytes(_PEM)
        return chain.decode("ascii"), fingerprint(made.public_bytes(serialization.Encoding.DER))

    @property
    def _subject(self) -> x509.Name:
        return self.certificate.subject


def fingerprint(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


def _key_of(csr: str) -> ec.EllipticCurvePublicKey:
    """Whose holder has signed the request. Raises RefusedError."""
    if len(csr) > CSR_MOST:
        raise RefusedError(f"csr: {len(csr)} characters, expected at most {CSR_MOST}")
    try:
        request = x509.load_pem_x509_csr(csr.encode("utf-8", "replace"))
        key = request.public_key()
        proven = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as exc:
        raise RefusedError(f"csr: expected a certificate signing request in PEM form: {exc}") from exc
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise RefusedError("csr: expected a key on the curve P-256")
    if not proven:
        raise RefusedError("csr: its signature is not of its key")
    return key


def _public(key: Any) -> bytes:
    """To compare: older versions of the library compare keys by which object they are."""
    return bytes(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(int.from_bytes(os.urandom(19), "big") | 1 << 151)
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
