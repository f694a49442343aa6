"""Keys that sign: a PEM file (Ed25519 or EC P-256, passphrase or not), or one in hardware, by its PKCS#11 URI.

Hardware is asked through OpenSSL's engine `pkcs11`, as RAUC does it, so one URI and one set of variables serves both:
RAUC_PKCS11_MODULE (the token's library) and RAUC_PKCS11_PIN. Scripts give passphrases in ENDOEDGE_KEY_PASSPHRASE.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Key, SecretsHandler, Signature, Signer, SSlibKey

from edge.errors import UpdateError

PASSPHRASE = "ENDOEDGE_KEY_PASSPHRASE"
MODULE, PIN = "RAUC_PKCS11_MODULE", "RAUC_PKCS11_PIN"
URI = "pkcs11:"


class KeySigner(Signer):
    """securesystemslib's own asks for a newer `cryptography` than Debian 12 has, and for numbered keys in hardware."""

    def __init__(self, key: SSlibKey, sign: Callable[[bytes], bytes]) -> None:
        self._key, self._sign = key, sign

    @property
    def public_key(self) -> SSlibKey:
        return self._key

    def sign(self, payload: bytes) -> Signature:
        return Signature(self._key.keyid, self._sign(payload).hex())

    @classmethod
    def from_priv_key_uri(
        cls,
        priv_key_uri: str,
        public_key: Key,
        secrets_handler: SecretsHandler | None = None,  # noqa: ARG003  (`load` asks by itself)
    ) -> KeySigner:
        found = load(priv_key_uri.removeprefix("file:"))
        if found.public_key != public_key:
            raise UpdateError(f"{priv_key_uri}: not the private key of {public_key.keyid[:16]}")
        return found


def load(reference: str | Path) -> KeySigner:
    """Raises UpdateError: no such key, the wrong passphrase or PIN, or a kind of key that is not used here."""
    if str(reference).startswith(URI):
        uri = str(reference)
        return KeySigner(public(uri), lambda payload: _in_hardware(["dgst", "-sha256", "-sign", uri], payload))
    file = Path(reference)
    try:
        private = load_pem_private_key(file.read_bytes(), passphrase(file))
    except OSError as exc:
        raise UpdateError(f"{file}: {exc.strerror}") from exc
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise UpdateError(f"{file}: no private key in PEM, or the wrong passphrase: {exc}") from exc
    return of(private, str(file))


def of(private: object, name: str = "key") -> KeySigner:
    if isinstance(private, Ed25519PrivateKey):
        return KeySigner(_key(private.public_key(), name), private.sign)
    if isinstance(private, EllipticCurvePrivateKey):
        signing = private
        return KeySigner(_key(private.public_key(), name), lambda payload: signing.sign(payload, ECDSA(SHA256())))
    raise UpdateError(f"{name}: expected an Ed25519 or EC P-256 key")


def generated() -> KeySigner:
    """A key that is in memory alone, for tests."""
    return of(Ed25519PrivateKey.generate())


def public(reference: str | Path) -> SSlibKey:
    """Of a public or a private file, or of a key in hardware."""
    if str(reference).startswith(URI):
        return _public(_in_hardware(["pkey", "-pubout", "-in", str(reference)], b""), str(reference))
    try:
        content = Path(reference).read_bytes()
    except OSError as exc:
        raise UpdateError(f"{reference}: {exc.strerror}") from exc
    return load(reference).public_key if b"PRIVATE KEY" in content else _public(content, str(reference))


def public_pem(key: SSlibKey) -> bytes:
    if key.keytype == "ed25519":
        raw = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
        return raw.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return str(key.keyval["public"]).encode()


def passphrase(file: Path) -> bytes | None:
    """For that file: None where it has none."""
    if not encrypted(file):
        return None
    given = os.environ.get(PASSPHRASE)
    if given is None:
        if not sys.stdin.isatty():
            raise UpdateError(f"{file}: it has a passphrase, and {PASSPHRASE} is not set")
        given = getpass.getpass(f"Passphrase of {file}: ")
    return given.encode()


def encrypted(file: Path) -> bool:
    content = file.read_bytes()
    return b"BEGIN ENCRYPTED PRIVATE KEY" in content or b"Proc-Type: 4,ENCRYPTED" in content


# ----------------------------------------------------------------------------------------------- openssl


def openssl_key(option: str, reference: str | Path) -> list[str]:
    """How an openssl command is told of a private key: `option` is -key, -signkey, -CAkey..."""
    form = "-CAkeyform" if option == "-CAkey" else "-keyform"
    if str(reference).startswith(URI):
        return ["-engine", "pkcs11", form, "engine", option, str(reference)]
    return [option, str(reference)]


def secret(reference: str | Path) -> list[str]:
    """How an openssl command is told of the key's passphrase or PIN. Nothing of it is on the command line."""
    if str(reference).startswith(URI):
        return ["-passin", f"env:{PIN}"] if PIN in os.environ else []
    return ["-passin", f"env:{PASSPHRASE}"] if PASSPHRASE in os.environ and encrypted(Path(reference)) else []


def openssl(arguments: list[str], content: bytes = b"") -> bytes:
    """Raises UpdateError with its last words."""
    environment = dict(os.environ)
    if MODULE in environment:
        environment["PKCS11_MODULE_PATH"] = environment[MODULE]
    try:
        done = subprocess.run(["openssl", *arguments], input=content, capture_output=True, env=environment, check=False)
    except OSError as exc:
        raise UpdateError(f"openssl: {exc.strerror}: install the package openssl") from exc
    if done.returncode:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        hint = _hint(arguments, done.stderr)
        raise UpdateError(f"openssl {arguments[0]}: {lines[-1] if lines else 'it failed'}{hint}")
    return done.stdout


def _in_hardware(arguments: list[str], content: bytes) -> bytes:
    command, *rest = arguments
    form = "-inform" if command == "pkey" else "-keyform"
    return openssl([command, "-engine", "pkcs11", form, "engine", *rest, *secret(URI)], content)


def _hint(arguments: list[str], said: bytes) -> str:
    if "pkcs11" not in arguments:
        return ""
    if b"could not load" in said or b"cannot open shared object" in said or b"invalid engine" in said:
        return " (install libengine-pkcs11-openssl)"
    return f" ({MODULE} is {os.environ.get(MODULE, 'not set')}, {PIN} is {'set' if PIN in os.environ else 'not set'})"


def _public(pem: bytes, name: str) -> SSlibKey:
    try:
        return _key(load_pem_public_key(pem), name)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise UpdateError(f"{name}: no public key in PEM: {exc}") from exc


def _key(found: object, name: str) -> SSlibKey:
    if isinstance(found, Ed25519PublicKey):
        kind, scheme = "ed25519", "ed25519"
        value = found.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    elif isinstance(found, EllipticCurvePublicKey) and isinstance(found.curve, SECP256R1):
        kind, scheme = "ecdsa", "ecdsa-sha2-nistp256"
        value = found.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    else:
        raise UpdateError(f"{name}: expected an Ed25519 or EC P-256 key")
    content = {"keytype": kind, "scheme": scheme, "keyval": {"public": value}}
    identity = hashlib.sha256(str(encode_canonical(content)).encode()).hexdigest()
    return SSlibKey(identity, kind, scheme, {"public": value})
