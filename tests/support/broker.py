"""A real mosquitto on a free loopback port, and throw-away certificates. Needs `mosquitto` and `openssl` on the path.

broker = Broker(tmp_path)               # anonymous, forgets everything when it ends
broker = Broker(tmp_path, tls=Authority(tmp_path).issue("broker"), client_ca=authority.ca)
with broker: ...                        # start() ... stop()
broker.kill(); broker.start()           # the same port again
broker.freeze(); broker.thaw()          # SIGSTOP, SIGCONT
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

START_WITHIN_S = 20.0

PERSISTENT = ("persistence true", "autosave_on_changes true", "autosave_interval 1")
FORGETFUL = ("persistence false",)


def missing_tools() -> str:
    """Why these tests cannot run here; "" when they can."""
    wanted = [tool for tool in ("mosquitto", "mosquitto_passwd", "openssl") if not _find(tool)]
    return f"not installed: {', '.join(wanted)}" if wanted else ""


def _find(tool: str) -> str | None:
    return shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Identity(NamedTuple):
    """A certificate and its key, PEM files."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority made on the spot (EC keys: milliseconds)."""

    def __init__(self, folder: Path, name: str = "ca", days: int = 2) -> None:
        self._folder = folder
        self.ca, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        _openssl(
            *("req", "-x509", *_NEW_KEY, "-keyout", self._key, "-out", self.ca),
            *("-subj", f"/CN=test authority {name}", "-days", str(days)),
        )

    def issue(
        self, name: str, *, san: str = "IP:127.0.0.1,DNS:localhost", expired: bool = False, days: int = 2
    ) -> Identity:
        """A certificate with CN `name`."""
        stem = self._folder / f"{name}-{len(list(self._folder.glob('*.csr')))}"
        cert, key, request, extensions = (stem.with_suffix(s) for s in (".pem", ".key", ".csr", ".ext"))
        extensions.write_text(f"subjectAltName={san}\nbasicConstraints=critical,CA:FALSE\n")
        _openssl("req", "-new", *_NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        _openssl(
            *("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._key, "-CAcreateserial"),
            *("-out", cert, "-days", "-1" if expired else str(days), "-extfile", extensions),
        )
        return Identity(cert, key)

    def sign(self, request: bytes, *, expired: bool = False, days: int = 90) -> bytes:
        """A client's certificate for its request (PEM), followed by ours."""
        stem = self._folder / f"signed-{len(list(self._folder.glob('*.csr')))}"
        cert, asked, extensions = (stem.with_suffix(suffix) for suffix in (".pem", ".csr", ".ext"))
        asked.write_bytes(request)
        extensions.write_text("basicConstraints=critical,CA:FALSE\nextendedKeyUsage=clientAuth\n")
        _openssl("req", "-in", asked, "-noout", "-verify")
        _openssl(
            *("x509", "-req", "-in", asked, "-CA", self.ca, "-CAkey", self._key, "-CAcreateserial"),
            *("-out", cert, "-days", "-1" if expired else str(days), "-extfile", extensions),
        )
        return cert.read_bytes() + self.ca.read_bytes()


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*args: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(map(str, args))}: {done.stderr}")


class Broker:
    """One mosquitto, startable many times with the same port and files. Use from one thread."""

    def __init__(
        self,
        folder: Path,
        *,
        options: Sequence[str] = FORGETFUL,
        tls: Identity | None = None,
        client_ca: Path | None = None,
        users: dict[str, str] | None = None,
        acl: str | None = None,
        also_at: str = "",
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`users`: name → password; none: anonymous. `client_ca`: client certificates are required, and their CN is
        the user name. `acl`: mosquitto's acl_file syntax. `also_at`: a second address, without TLS. `env`: instead of
        ours."""
        self.port = free_port()
        self.folder = folder / f"broker-{self.port}"
        self.folder.mkdir()
        self._process: subprocess.Popen[bytes] | None = None
        self._acl, self._env = self.folder / "acl", env
        lines = [f"listener {self.port} {also_at}"] if also_at else []
        lines += [f"listener {self.port} 127.0.0.1", "user root", "max_queued_messages 100000", *options]
        lines += [f"persistence_location {self.folder}/", f"allow_anonymous {'false' if users else 'true'}"]
        if users:
            lines.append(f"password_file {_password_file(self.folder / 'passwords', users)}")
        if acl is not None:
            self.set_acl(acl)
            lines.append(f"acl_file {self._acl}")
        if tls:
            lines += [f"certfile {tls.cert}", f"keyfile {tls.key}"]
        if client_ca:
            lines += [f"cafile {client_ca}", "require_certificate true", "use_identity_as_username true"]
        self._config = self.folder / "mosquitto.conf"
        self._config.write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """Returns when it accepts connections."""
        assert self._process is None, "already running"
        with (self.folder / "log").open("ab") as log:
            mosquitto = _find("mosquitto") or "mosquitto"
            self._process = subprocess.Popen([mosquitto, "-c", self._config], stdout=log, stderr=log, env=self._env)
        deadline = time.monotonic() + START_WITHIN_S
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"mosquitto did not start: {self.log()}")
            time.sleep(0.01)

    def _accepts(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def stop(self) -> None:
        """SIGTERM: it tells its clients."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: it tells nobody."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.send_signal(signal.SIGCONT)
            process.wait(timeout=10)

    @property
    def pid(self) -> int:
        assert self._process is not None, "not running"
        return self._process.pid

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def set_acl(self, acl: str) -> None:
        """Takes effect at once when the broker runs (SIGHUP)."""
        self._acl.write_text(acl)
        self._acl.chmod(0o600)
        if self._process is not None:
            self._signal(signal.SIGHUP)

    def _signal(self, which: signal.Signals) -> None:
        assert self._process is not None, "not running"
        self._process.send_signal(which)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.kill()


def _password_file(path: Path, users: dict[str, str]) -> Path:
    """mosquitto_passwd hashes the file in place."""
    path.write_text("".join(f"{name}:{password}\n" for name, password in users.items()))
    path.chmod(0o600)
    subprocess.run([_find("mosquitto_passwd") or "mosquitto_passwd", "-U", path], check=True, capture_output=True)
    return path


@contextlib.contextmanager
def frozen(broker: Broker) -> Iterator[None]:
    broker.freeze()
    try:
        yield
    finally:
        broker.thaw()
