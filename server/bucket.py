"""Key frames in S3-compatible storage (`[bucket]`), by their sha256, once: for many machines that share no disk.

A picture is written under the condition that nothing is there; storage that knows no conditions writes the same bytes
over the same bytes. What was kept is there for every reader when `put` returns, as S3 promises it.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import S3Store

from edge.errors import ConfigError
from server.config import Bucket as Config
from server.errors import ServerError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

_WITHIN = timedelta(seconds=30)  # a request
_RETRY: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
_PROVEN_S = 10.0  # so long a proof is good: each costs a write
_PROOF = "proof"
_HERE = ("localhost", "127.0.0.1", "::1")


class Bucket:
    """Implements `server.keep.Keep`. Callable from any thread. Raises ServerError with bucket and key."""

    def __init__(self, store: S3Store, url: str) -> None:
        self._store, self._url = store, url.rstrip("/")
        self._lock, self._proven_s = threading.Lock(), -_PROVEN_S

    def put(self, sha256: str, jpeg: bytes) -> None:
        key = _key(sha256)
        with self._told(key):
            try:
                self._put(key, jpeg, once=True)
            except exceptions.NotSupportedError:
                self._put(key, jpeg, once=False)

    def get(self, sha256: str) -> bytes | None:
        key = _key(sha256)
        try:
            with self._told(key):
                content = bytes(obstore.get(self._store, key).bytes())
        except FileNotFoundError:
            return None
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ServerError(f"{self._url}/{key}: its content is not what its name says")
        return content

    def discard(self, sha256: str) -> None:
        key = _key(sha256)
        with self._told(key), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, key)

    def prove(self) -> None:
        with self._lock:
            if time.monotonic() - self._proven_s < _PROVEN_S:
                return
            with self._told(_PROOF):
                self._put(_PROOF, b"can be written", once=False)
            self._proven_s = time.monotonic()

    def sweep(self) -> int:
        """There is nothing half-written in S3: an object is there whole or not at all."""
        return 0

    def _put(self, key: str, content: bytes, *, once: bool) -> None:
        kind = "image/jpeg" if key.endswith(".jpg") else "text/plain"
        with contextlib.suppress(exceptions.AlreadyExistsError):
            obstore.put(
                self._store,
                key,
                content,
                attributes={"Content-Type": kind},
                mode="create" if once else "overwrite",
                use_multipart=False,
            )

    @contextlib.contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """FileNotFoundError passes where a picture is not there: that is no fault. Where the bucket is not, it is."""
        try:
            yield
        except FileNotFoundError as exc:
            if "NoSuchKey" in str(exc):
                raise
            raise ServerError(f"{self._url}: {_first(exc)}") from exc
        except (exceptions.BaseError, OSError) as exc:
            raise ServerError(f"{self._url}/{key}: {_first(exc)}") from exc


def open_bucket(config: Config) -> Bucket:
    """Raises ConfigError. Whether it can be reached is `prove`'s matter."""
    parts, endpoint = urlsplit(config.url), urlsplit(config.endpoint)
    if endpoint.scheme == "http" and endpoint.hostname not in _HERE:
        raise ConfigError(f"bucket.endpoint {config.endpoint}: another machine: expected https")
    client: ClientConfig = {
        "timeout": _WITHIN,
        "connect_timeout": timedelta(seconds=5),
        "allow_http": endpoint.scheme == "http",
    }
    if config.ca:
        client["root_certificate"] = _read("bucket.ca", config.ca)
    options: S3Config = {"region": config.region or "us-east-1"}
    if config.endpoint:
        options["endpoint"] = config.endpoint
    if config.key_file or config.secret_file:
        options["access_key_id"] = _read("bucket.key_file", config.key_file)
        options["secret_access_key"] = _read("bucket.secret_file", config.secret_file)
    try:
        store = S3Store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            config=options,
            client_options=client,
            retry_config=_RETRY,
        )
    except exceptions.BaseError as exc:
        raise ConfigError(f"bucket.url {config.url}: {str(exc).strip().splitlines()[0]}") from exc
    return Bucket(store, config.url)


def _read(key: str, file: str) -> str:
    try:
        content = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{key} {file or '(not set)'}: {getattr(exc, 'strerror', '') or 'not text'}") from exc
    if not content:
        raise ConfigError(f"{key} {file}: is empty")
    return content


def _first(exc: Exception) -> str:
    """The rest of it is for who writes libraries."""
    lines = str(exc).strip().splitlines()
    return lines[0] if lines else type(exc).__name__


def _key(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}.jpg"
