"""The real report server in a process of its own, as an administrator starts it.

with ReportService(tmp_path, database_url) as service: service.enrol("box-1"); httpx.get(service.url + "/alive")
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from server.enrolment import enrol, make_code
from server.store.database import Database, open_database
from server.store.migrate import migrate
from tests.support.broker import free_port

START_WITHIN_S = 40.0
ROOT = Path(__file__).parents[2]


class ReportService:
    """`database`: as `server.toml` has it. `more`: further TOML. Killed and started again at the same port."""

    def __init__(self, folder: Path, database: str = "", more: str = "", *, worker: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = folder / "server.toml"
        self.data = folder / "data"
        self.config.write_text(f'data_dir = "data"\ndatabase = "{database}"\n{more}\n[http]\nport = {self.port}\n')
        self.database: Database = open_database(database, self.data)
        migrate(self.database)
        self._worker, self._child = worker, None

    def __enter__(self) -> ReportService:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.database.close()

    _child: subprocess.Popen[bytes] | None

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        self._child = subprocess.Popen(
            [*self.command("serve"), *([] if self._worker else ["--no-worker"])], stdout=log, stderr=log, cwd=ROOT,
            start_new_session=True,
        )  # fmt: skip
        log.close()
        end_s = time.monotonic() + START_WITHIN_S
        while not self._answers():
            assert self._child.poll() is None, self.log()
            assert time.monotonic() < end_s, self.log()
            time.sleep(0.05)

    def _answers(self) -> bool:
        import socket

        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def stop(self) -> None:
        """As systemd would."""
        if self._child is not None:
            self._child.terminate()
            try:
                self._child.wait(40)
            except subprocess.TimeoutExpired:
                self.kill()
            self._child = None

    def kill(self) -> None:
        """The web and its worker, at once."""
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
            self._child = None

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "server.cli", "--config", str(self.config), *arguments]

    def run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """A command of `endoedge-server`."""
        return subprocess.run(
            self.command(*arguments), input=text, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
        )

    def enrol(self, device: str) -> str:
        """Its token."""
        return enrol(self.database, device, make_code(self.database, device, "test"))

    def log(self) -> str:
        return (self.folder / "log").read_text()
