"""OpenID Connect, as much as a login needs: the code flow with PKCE, state and nonce; ID tokens under the provider's
keys, which may change at any time. Nothing of a provider is believed that its token does not say.

Everything that goes wrong is a RefusedError: 502 and 504 the provider, 403 what came back from it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import jwt
import msgspec

from edge.types import Struct
from server.config import Oidc
from server.errors import RefusedError
from server.identities import Identity
from server.role import ROLES, Role

ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
"""None with a shared secret, and not "none"."""
LEEWAY_S = 60
_FRESH_S = 3600.0  # of what the provider says about itself
_KEYS_AGAIN_S = 10.0  # so often an unknown key makes us ask, and no oftener
_AWAY_S = 3.0  # for so long a provider that cannot be reached is not asked again
_ANSWER_MOST = 1 << 20  # bytes


class Started(Struct, frozen=True, kw_only=True):
    """What the browser keeps between leaving for the provider and coming back."""

    state: str
    nonce: str
    verifier: str
    at: int  # seconds since 1970
    next: str = "/"
    prove: bool = False  # before a signature: whoever is logged in shows again who it is


class Proof(Struct, frozen=True, kw_only=True):
    identity: Identity
    auth_time: int | None  # when the person showed the provider who it is


class _About(msgspec.Struct, frozen=True, kw_only=True):
    """Of the provider, by its discovery document."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    id_token_signing_alg_values_supported: list[str] = msgspec.field(default_factory=lambda: ["RS256"])
    token_endpoint_auth_methods_supported: list[str] = msgspec.field(default_factory=lambda: ["client_secret_basic"])


class Provider:
    """One for a process. Callable from any thread."""

    def __init__(self, config: Oidc, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._lock = threading.Lock()
        self._about: tuple[float, _About] | None = None
        self._keys: tuple[float, dict[str, Any]] | None = None
        self._away: tuple[float, RefusedError] | None = None

    def start(self, back: str, place: str, *, prove: bool) -> tuple[str, Started]:
        """Where to send the browser. `back`: where the provider sends it back to."""
        started = Started(
            state=secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            verifier=secrets.token_urlsafe(48),
            at=int(time.time()),
            next=place,
            prove=prove,
        )
        challenge = base64.urlsafe_b64encode(hashlib.sha256(started.verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self._config.client_id,
            "redirect_uri": back,
            "scope": "openid profile email",
            "state": started.state,
            "nonce": started.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **({"prompt": "login", "max_age": "0"} if prove else {}),
        }
        endpoint = self._discovered().authorization_endpoint
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}", started

    def finish(self, back: str, started: Started, said: Mapping[str, str]) -> Proof:
        """`said`: the query with which the browser came back."""
        if not hmac.compare_digest(said.get("state", "").encode(), started.state.encode()):
            raise RefusedError("this login was not begun in this browser, or too long ago: begin again", 403)
        if said.get("iss", self._config.issuer) != self._config.issuer:  # RFC 9207
            raise RefusedError("this login comes from another identity provider", 403)
        if "code" not in said:
            raise RefusedError(f"the identity provider says: {said.get('error', 'nothing')[:64]}", 403)
        claims = self._verified(self._id_token(back, started, said["code"]), started)
        return Proof(identity=self._identity(claims), auth_time=_auth_time(claims, started))

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        config = self._config
        found = claims.get(config.role_claim, _within(claims, config.role_claim))
        values = found if isinstance(found, list) else [found]
        roles: list[Role] = [
            config.roles[value] for value in values if isinstance(value, str) and value in config.roles
        ]
        if not roles:
            raise RefusedError("the identity provider gives you no role here: ask your administrator", 403)
        name = str(claims.get(config.name_claim) or claims.get("email") or claims["sub"])
        return Identity(
            issuer=config.issuer,
            subject=claims["sub"],
            name=name,
            full_name=str(claims.get("name") or name),
            role=max(roles, key=ROLES.index),
        )

    # ------------------------------------------------------------------------------------------- the token

    def _id_token(self, back: str, started: Started, code: str) -> str:
        config, about = self._config, self._discovered()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back,
            "client_id": config.client_id,
            "code_verifier": started.verifier,
        }
        auth: httpx.BasicAuth | None = None
        if config.client_secret_file:
            secret = _secret(config.client_secret_file)
            if "client_secret_basic" in about.token_endpoint_auth_methods_supported:
                auth = httpx.BasicAuth(_quoted(config.client_id), _quoted(secret))
            else:
                form["client_secret"] = secret
        answer = self._asked("POST", about.token_endpoint, data=form, auth=auth)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise RefusedError(f"{self._name}: answers without an ID token: {str(answer.get('error', ''))[:64]}", 502)
        return token

    def _verified(self, token: str, started: Started) -> dict[str, Any]:
        """Its claims (OpenID Connect Core 1.0, 3.1.3.7)."""
        config = self._config
        try:
            header = jwt.get_unverified_header(token)
            algorithm = str(header.get("alg"))
            if algorithm not in ALGORITHMS.intersection(self._discovered().id_token_signing_alg_values_supported):
                raise jwt.InvalidAlgorithmError(f"algorithm {algorithm[:16]}")
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key(header.get("kid"), algorithm),
                algorithms=[algorithm],
                audience=config.client_id,
                issuer=config.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "aud", "iss", "sub", "nonce"]},
            )
        except jwt.PyJWTError as exc:
            raise RefusedError(f"{self._name}: an ID token that cannot be believed: {exc}", 403) from exc
        wrong = ""
        if not isinstance(claims["nonce"], str) or not hmac.compare_digest(
            claims["nonce"].encode("utf-8", "replace"), started.nonce.encode()
        ):
            wrong = "made for another login"
        elif claims.get("azp", config.client_id) != config.client_id:
            wrong = "made for another application"
        elif isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and "azp" not in claims:
            wrong = "made for several applications"
        elif not (isinstance(claims["sub"], str) and 0 < len(claims["sub"]) <= 255):
            wrong = "without a person"
        if wrong:
            raise RefusedError(f"{self._name}: an ID token {wrong}", 403)
        return claims

    # ------------------------------------------------------------------------------- what the provider says

    @property
    def _name(self) -> str:
        return f"identity provider {urlsplit(self._config.issuer).netloc}"

    def _discovered(self) -> _About:
        with self._lock:
            if self._about is not None and self._clock() - self._about[0] < _FRESH_S:
                return self._about[1]
            answer = self._asked("GET", f"{self._config.issuer.rstrip('/')}/.well-known/openid-configuration")
            try:
                about = msgspec.convert(answer, _About)
            except msgspec.ValidationError as exc:
                raise RefusedError(f"{self._name}: its configuration: {exc}", 502) from exc
            if about.issuer != self._config.issuer:
                raise RefusedError(f"{self._name}: calls itself {about.issuer[:200]}: correct oidc.issuer", 502)
            for place in (about.authorization_endpoint, about.token_endpoint, about.jwks_uri):
                if urlsplit(place).scheme != "https" and urlsplit(self._config.issuer).scheme == "https":
                    raise RefusedError(f"{self._name}: {place[:200]}: expected https://", 502)
            self._about = (self._clock(), about)
            return about

    def _key(self, kid: Any, algorithm: str) -> Any:
        """Raises PyJWTError where there is none of that name and kind."""
        place = self._discovered().jwks_uri
        with self._lock:
            known = self._keys
            old = known is None or self._clock() - known[0] > _FRESH_S
            if known is None or old or (_one(known[1], kid) is None and self._clock() - known[0] > _KEYS_AGAIN_S):
                known = self._keys = (self._clock(), self._asked("GET", place))
        found = _one(known[1], kid)
        if found is None:
            raise jwt.InvalidKeyError("a key that the provider does not name")
        return jwt.PyJWK.from_dict(found, algorithm=algorithm).key  # type: ignore[no-untyped-call]

    def _asked(
        self, method: str, url: str, *, data: dict[str, str] | None = None, auth: httpx.BasicAuth | None = None
    ) -> dict[str, Any]:
        if self._away is not None and self._clock() - self._away[0] < _AWAY_S:
            raise self._away[1]
        try:
            return self._answer(method, url, data, auth)
        except RefusedError as exc:
            if exc.status == 504:  # whoever waits for the same provider need not wait as long again
                self._away = (self._clock(), exc)
            raise

    def _answer(
        self, method: str, url: str, data: dict[str, str] | None, auth: httpx.BasicAuth | None
    ) -> dict[str, Any]:
        config = self._config
        try:
            trusts = ssl.create_default_context(cafile=config.ca or None)
            with (
                httpx.Client(verify=trusts, timeout=config.timeout_s, follow_redirects=False) as client,
                client.stream(method, url, data=data, auth=auth, headers={"Accept": "application/json"}) as answer,
            ):
                content = b""
                for part in answer.iter_bytes():
                    content += part
                    if len(content) > _ANSWER_MOST:
                        raise RefusedError(f"{self._name}: an answer of more than {_ANSWER_MOST} bytes", 502)
            found = msgspec.json.decode(content)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as exc:
            raise RefusedError(f"{self._name}: cannot be asked: {exc}", 504) from exc
        except msgspec.DecodeError as exc:
            raise RefusedError(f"{self._name}: answers {answer.status_code}, without JSON", 502) from exc
        if not isinstance(found, dict) or (answer.status_code != 200 and "error" not in found):
            raise RefusedError(f"{self._name}: answers {answer.status_code}", 502)
        return found


def _one(keys: Mapping[str, Any], kid: Any) -> dict[str, Any] | None:
    """The public key of that name; without a name the only one."""
    known = keys.get("keys")
    every = [key for key in known if isinstance(key, dict)] if isinstance(known, list) else []
    every = [key for key in every if key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig"]
    fit = every if kid is None else [key for key in every if key.get("kid") == kid]
    return fit[0] if len(fit) == 1 else None


def _within(claims: Mapping[str, Any], path: str) -> Any:
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _auth_time(claims: Mapping[str, Any], started: Started) -> int | None:
    """Raises RefusedError where the person was to show again who it is, and did not."""
    said = claims.get("auth_time")
    at = int(said) if isinstance(said, (int, float)) and 0 < said <= time.time() + LEEWAY_S else None
    if started.prove and (at is None or at < started.at - LEEWAY_S):
        raise RefusedError("the identity provider did not ask you again who you are (auth_time)", 403)
    return at


def _secret(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise RefusedError(f"oidc.client_secret_file {file}: {exc}", 502) from exc


def _quoted(text: str) -> str:
    """RFC 6749, 2.3.1."""
    return urlencode({"": text})[1:]
