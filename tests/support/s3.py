"""S3 over a real socket: moto's server, from an environment of its own (`tools/setup.sh dev` makes it).

with S3(tmp_path) as storage: storage.config("prefix"), storage.objects()
"""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store

from server.config import Bucket
from tests.support.broker import Identity, free_port
from tests.support.waiting import wait_for

BUCKET = "key-frames"
_PROGRAM = Path(sys.prefix) / "moto" / "bin" / "moto_server"


def missing() -> str:
    """Why it cannot run here; "" when it can."""
    return "" if _PROGRAM.is_file() else f"not installed: {_PROGRAM} (tools/setup.sh dev)"


class S3:
    """Forgets everything at its end. Use from one thread."""

    def __init__(self, folder: Path, tls: Identity | None = None) -> None:
        self._folder, self._tls = folder, tls
        self.port = free_port()
        self.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        (folder / "key").write_text("AKIATEST\n")
        (folder / "secret").write_text("geheim\n")

    def __enter__(self) -> S3:
        self.start()
        return self

    def start(self) -> None:
        tls = ["--ssl-cert", str(self._tls.cert), "--ssl-key", str(self._tls.key)] if self._tls else []
        with (self._folder / "s3.log").open("ab") as log:
            command = [str(_PROGRAM), "-H", "127.0.0.1", "-p", str(self.port), *tls]
            outside = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))}
            self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=outside)
        wait_for(self._makes_a_bucket, "the storage makes a bucket")

    def stop(self) -> None:
        self._child.kill()
        self._child.wait()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def config(self, prefix: str = "", **more: Any) -> Bucket:
        files = {"key_file": str(self._folder / "key"), "secret_file": str(self._folder / "secret")}
        url = f"s3://{BUCKET}/{prefix}" if prefix else f"s3://{BUCKET}"
        return Bucket(**{"url": url, "endpoint": self.endpoint, **files, **more})

    def objects(self) -> dict[str, bytes]:
        found = [one["path"] for part in obstore.list(self._store()) for one in part]
        return {path: bytes(obstore.get(self._store(), path).bytes()) for path in found}

    def spoil(self, path: str, content: bytes) -> None:
        obstore.put(self._store(), path, content)

    def _store(self) -> S3Store:
        signed = {"access_key_id": "AKIATEST", "secret_access_key": "geheim", "region": "us-east-1"}
        return S3Store(BUCKET, endpoint=self.endpoint, config=signed, client_options={"allow_http": True})

    def _makes_a_bucket(self) -> bool:
        if self._child.poll() is not None:
            raise RuntimeError(f"moto_server ended: {(self._folder / 's3.log').read_text()[-2000:]}")
        asked = urllib.request.Request(f"{self.endpoint}/{BUCKET}", method="PUT")
        context = ssl._create_unverified_context() if self._tls else None
        try:
            urllib.request.urlopen(asked, timeout=5, context=context).close()
        except OSError:
            return False
        return True
