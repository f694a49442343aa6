"""An identity provider that keeps to OpenID Connect, over a real socket, and can be told to lie.

with OidcProvider(identity) as provider: provider.person["sub"] = ...; provider.lie = "alg none"
It holds the client to its part: PKCE, its secret, each code once, the place that it was registered with.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.broker import Identity

CLIENT, SECRET = "endoedge reports", "s3cr:et/%"
_LARGE = 2 << 20


class Key:
    def __init__(self, name: str) -> None:
        self.name, self.private = name, rsa.generate_private_key(65537, 2048)

    def public(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.private.public_key()))
        return {**found, "kid": self.name, "use": "sig", "alg": "RS256"}

    def pem(self) -> bytes:
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.private.public_key().public_bytes(serialization.Encoding.PEM, spki)


class OidcProvider(ThreadingHTTPServer):
    """`person`: the claims of who logs in. `claims`: laid over an ID token's, None takes one out."""

    daemon_threads = True

    def __init__(self, identity: Identity, back: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.cert, identity.key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.issuer, self.back = f"https://127.0.0.1:{self.server_port}", back
        self.key = Key("first")
        self.codes: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.reset()

    def reset(self) -> None:
        self.person: dict[str, Any] = {"sub": "4711", "preferred_username": "ada", "name": "Ada Lovelace"}
        self.person["groups"] = ["staff", "endoscopists"]
        self.claims: dict[str, Any] = {}
        self.lie, self.metadata = "", dict[str, Any]()
        self.logged_in_at = time.time()
        self.codes.clear()

    def __enter__(self) -> OidcProvider:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, name="provider")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who does not trust us hangs up."""

    # ----------------------------------------------------------------------------------------- what it answers

    def configuration(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            **self.metadata,
        }

    def keys(self) -> dict[str, Any]:
        secret = base64.urlsafe_b64encode(b"k" * 32).rstrip(b"=").decode()
        return {"keys": [{"kty": "oct", "k": secret, "kid": self.key.name}, self.key.public()]}

    def authorize(self, query: dict[str, str]) -> str:
        """Where the browser goes then."""
        assert query["response_type"] == "code"
        assert (query["client_id"], query["redirect_uri"]) == (CLIENT, self.back)
        assert (query["code_challenge_method"], "openid" in query["scope"].split()) == ("S256", True)
        if query.get("prompt") == "login" and self.lie != "old login":
            self.logged_in_at = time.time()
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        said = {"code": code, "state": query["state"], "iss": self.issuer}
        if self.lie == "no consent":
            said = {"error": "access_denied", "state": query["state"]}
        if self.lie == "another provider":
            said["iss"] = "https://evil.example"
        return f"{self.back}?{urlencode(said)}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        told = base64.b64decode(authorization.removeprefix("Basic ")).decode() if authorization else ""
        by_form = (form.get("client_id"), form.get("client_secret")) == (CLIENT, SECRET)
        if [unquote(part.replace("+", " ")) for part in told.split(":")] != [CLIENT, SECRET] and not by_form:
            return 401, {"error": "invalid_client"}
        query = self.codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if query is None or query["code_challenge"] != challenge.decode() or form["redirect_uri"] != self.back:
            return 400, {"error": "invalid_grant"}
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": self.id_token(query)}

    def id_token(self, query: dict[str, str]) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": query["nonce"],
            "auth_time": int(self.logged_in_at),
            **self.person,
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.lie == "alg none":
            return f"{_part({'alg': 'none', 'kid': self.key.name})}.{_part(claims)}."
        if self.lie == "public key as secret":
            return _by_secret(self.key.pem(), self.key.name, claims)
        if self.lie == "published secret":
            return _by_secret(b"k" * 32, self.key.name, claims)
        key = Key(self.key.name) if self.lie == "another key" else self.key
        return jwt.encode(claims, key.private, algorithm="RS256", headers={"kid": key.name})


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _by_secret(secret: bytes, name: str, claims: dict[str, Any]) -> str:
    signed = f"{_part({'alg': 'HS256', 'kid': name})}.{_part(claims)}"
    mac = hmac.digest(secret, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


class _Handler(BaseHTTPRequestHandler):
    server: OidcProvider
    timeout = 20

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, _fields(urlsplit(self.path).query)
        self.server.asked.append(path)
        if path == "/authorize":
            self._answer(303, {}, Location=self.server.authorize(query))
        elif path == "/keys":
            self._answer(200, self.server.keys())
        elif self.server.lie == "no JSON":
            self._answer(200, None)
        elif self.server.lie == "endless":
            self._answer(200, {"issuer": "x" * _LARGE})
        else:
            self._answer(200, self.server.configuration())

    def do_POST(self) -> None:
        form = _fields(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.server.asked.append(self.path)
        self._answer(*self.server.token(form, self.headers.get("Authorization", "")))

    def _answer(self, status: int, said: dict[str, Any] | None, **headers: str) -> None:
        content = b"<html>" if said is None else json.dumps(said).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _fields(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}
