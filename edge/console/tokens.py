"""Service tokens: a signed answer to one challenge of one device. The console's only file that imports `cryptography`.

    EET1.<base64url of the claims, JSON>.<base64url of their Ed25519 signature>

Signed is `CONTEXT` and then exactly those JSON bytes. The box holds public keys only; `tools/service_token.py` signs
where the private key is.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from edge.errors import ConsoleError
from edge.types import Struct

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Right = Literal["diagnose", "restart"]
"""`diagnose`: logs, self-test, support bundle. `restart`: services and the machine."""

VERSION = "EET1"
CONTEXT = b"EndoEdge service token, version 1\n"  # so that nothing else this key ever signed is a token
TOKEN_CHARS = 900
LIFETIME_S = 86_400  # no token is good for longer, whatever it says
_KEY_BYTES = 4096


class Claims(Struct, frozen=True, kw_only=True):
    """What the signer says. Times are seconds since 1970 on the signer's clock."""

    device: str
    nonce: str
    name: Annotated[str, Meta(pattern=r"^[ -~]{1,64}$")]  # the service engineer's, for the audit log
    issued: int
    not_after: int
    rights: tuple[Right, ...]


Keys = Mapping[str, "Ed25519PublicKey"]
"""By file name."""


def load_keys(folder: Path) -> Keys:
    """All `*.pem` of a folder. Raises ConsoleError: one that is no Ed25519 public key spoils the folder, for somebody
    meant it to open this box."""
    keys = {}
    for path in sorted(folder.glob("*.pem")):
        try:
            with path.open("rb") as file:
                keys[path.name] = public_key(file.read(_KEY_BYTES))
        except OSError as exc:
            raise ConsoleError(f"{path}: cannot be read: {exc.strerror}") from exc
        except ValueError as exc:
            raise ConsoleError(f"{path}: expected an Ed25519 public key in PEM form") from exc
    if not keys:
        raise ConsoleError(f"{folder}: holds no service key (*.pem), so nobody can log in")
    return keys


def public_key(pem: bytes) -> Ed25519PublicKey:
    """Raises ValueError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except UnsupportedAlgorithm as exc:
        raise ValueError(str(exc)) from exc
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("not Ed25519")
    return key


def encode(claims: Claims, sign: Callable[[bytes], bytes]) -> str:
    payload = msgspec.json.encode(claims)
    return f"{VERSION}.{_to_text(payload)}.{_to_text(sign(CONTEXT + payload))}"


def verified(token: str, keys: Keys) -> tuple[Claims, str]:
    """The claims, and the file of the key that signed them. Raises ConsoleError; nothing of a token is believed, nor
    even parsed, before its signature holds."""
    pieces = token.split(".")
    if len(token) > TOKEN_CHARS or len(pieces) != 3 or pieces[0] != VERSION:
        raise ConsoleError("this is no service token, or a part of it is missing")
    try:
        payload, signature = _from_text(pieces[1]), _from_text(pieces[2])
    except (ValueError, binascii.Error) as exc:
        raise ConsoleError("this is no service token: it is damaged") from exc
    signer = _signer(payload, signature, keys.items())
    if signer is None:
        raise ConsoleError("its signature is of no key that this box knows")
    try:
        return msgspec.json.decode(payload, type=Claims), signer
    except msgspec.DecodeError as exc:
        raise ConsoleError(f"it is signed, but not understood: {exc}") from exc


def _signer(payload: bytes, signature: bytes, keys: Iterable[tuple[str, Ed25519PublicKey]]) -> str | None:
    from cryptography.exceptions import InvalidSignature

    for name, key in keys:
        try:
            key.verify(signature, CONTEXT + payload)
        except InvalidSignature:
            continue
        return name
    return None


def _to_text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _from_text(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
