"""A real PostgreSQL of its own, in a temporary folder, at a unix socket and a free loopback port.

with PostgreSQL() as server: server.url("name")    # of a new, empty database
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.broker import free_port

_USER = "postgres"  # who runs it when we are root, which PostgreSQL refuses to be


def _programs() -> Path | None:
    """Debian keeps them out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    return found[-1].parent if found else None


def missing() -> str:
    """Why it cannot run here; "" when it can."""
    if _programs() is None:
        return "not installed: postgresql"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(_USER)
        except KeyError:
            return f"as root PostgreSQL needs the user {_USER}"
    return ""


class PostgreSQL:
    """Started once for many tests; each takes a database of its own. `durable`: with fsync, which tests do without."""

    def __init__(self, *, durable: bool = False) -> None:
        self._durable = durable
        self._folder = Path(tempfile.mkdtemp(prefix="endoedge-pg-"))  # pytest closes its own folders to other users
        self.port = free_port()
        self._numbers = itertools.count(1)

    def __enter__(self) -> PostgreSQL:
        programs = _programs()
        assert programs is not None, missing()
        self._programs = programs
        if os.geteuid() == 0:
            shutil.chown(self._folder, _USER)
        self._run("initdb", "-A", "trust", "-U", _USER, "-D", str(self._data), "--no-sync", "-E", "UTF8", "--locale=C")
        settings = (
            f"-k {self._folder} -h 127.0.0.1 -p {self.port}{'' if self._durable else ' -F'} -c max_connections=200"
        )
        self._start = ("pg_ctl", "-D", str(self._data), "-w", "-l", str(self._folder / "log"), "-o", settings, "start")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop("immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        self._run(*self._start)

    def stop(self, how: str = "fast") -> None:
        with contextlib.suppress(subprocess.CalledProcessError):  # it was stopped already
            self._run("pg_ctl", "-D", str(self._data), "-m", how, "-w", "stop")

    def url(self, name: str = "") -> str:
        """Of a new, empty database."""
        name = name or f"test{next(self._numbers)}"
        self._run("createdb", "-h", str(self._folder), "-p", str(self.port), "-U", _USER, name)
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{name}"

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, program: str, *arguments: str) -> None:
        as_root = os.geteuid() == 0
        subprocess.run(
            [str(self._programs / program), *arguments],
            check=True,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=90,
            user=_USER if as_root else None,
            group=_USER if as_root else None,
            extra_groups=[] if as_root else None,
        )
