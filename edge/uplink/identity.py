"""A key that is made on this box and never leaves it, and the request for a certificate of it. The only file here that
imports `cryptography`, which each box has for its console, and only when it is asked to.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from edge.errors import UplinkError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

CHAIN_MOST = 64 << 10  # characters
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n?")


class Request:
    """P-256, in memory until `kept` is written."""

    def __init__(self, device: str) -> None:
        """Raises UplinkError: there is no `cryptography`."""
        try:
            from cryptography import x509
            from cryptography.hazmat.primitives import hashes, serialization
            from cryptography.hazmat.primitives.asymmetric import ec
        except ImportError as exc:
            raise UplinkError(f"a certificate needs the extra `console` of endoedge ({exc})") from exc
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, device)])
        pem = serialization.Encoding.PEM
        self.csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        self.text = self.csr.public_bytes(pem).decode("ascii")
        """PEM: what the server is asked to sign."""
        self._key = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    def kept(self, chain: str) -> bytes:
        """The key and its certificates as one PEM file, so that one rename changes both. Raises UplinkError: `chain` is
        not a certificate of this key, followed by who signed it."""
        parts = _PEM.findall(chain.replace("\r\n", "\n")) if len(chain) <= CHAIN_MOST else []
        if not parts:
            raise UplinkError("answers with a certificate that is none")
        first, *_ = [_certificate(part) for part in parts]
        if _public(first) != _public(self.csr):
            raise UplinkError("answers with a certificate of another key")
        return self._key + "".join(f"{part.rstrip()}\n" for part in parts).encode("ascii")


def _certificate(pem: str) -> Certificate:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(pem.encode("ascii"))
    except ValueError as exc:
        raise UplinkError(f"answers with a certificate that is none: {exc}") from exc


def _public(of: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(of.public_key().public_bytes(serialization.Encoding.DER, spki))
