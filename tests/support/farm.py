"""The report server as it runs: `endoedge-server` processes on one folder and one database, that can be killed.

farm = Farm(folder, database="")           # "": SQLite; or a URL of PostgreSQL
farm.web(0); farm.worker(0)                # started; farm.wait_up()
farm.kill("web 0")                         # -9; started again by calling its method once more
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

from server.enrolment import enrol, make_code
from server.keep import Folder
from server.store.database import Database, open_database
from server.store.migrate import migrate
from tests.support.broker import free_port
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]


class Farm:
    """Used as a context manager, from one thread: kills what is left at its end. `more`: lines of server.toml."""

    def __init__(self, folder: Path, database: str = "", *, webs: int = 1, more: str = "") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.ports = [free_port() for _ in range(webs)]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._configs = [folder / f"server-{number}.toml" for number in range(webs)]
        for port, file in zip(self.ports, self._configs, strict=True):
            file.write_text(f'data_dir = "data"\ndatabase = "{database}"\n{more}\n[http]\nport = {port}\n')
        self.database: Database = open_database(database, folder / "data")
        self.keep = Folder(folder / "data" / "frames")
        migrate(self.database)

    def __enter__(self) -> Farm:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.processes):
            self.kill(name)
        self.database.close()

    @property
    def config(self) -> Path:
        return self._configs[0]

    def url(self, number: int = 0) -> str:
        return f"http://127.0.0.1:{self.ports[number]}"

    def web(self, number: int = 0, *, worker: bool = False) -> subprocess.Popen[bytes]:
        """`worker`: one beside it."""
        return self._start(f"web {number}", self._configs[number], "serve", *(() if worker else ("--no-worker",)))

    def worker(self, number: int = 0) -> subprocess.Popen[bytes]:
        return self._start(f"worker {number}", self.config, "work")

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> int:
        """And what it ended with."""
        process = self.processes.pop(name)
        process.send_signal(how)
        return process.wait(60)

    def wait_up(self, number: int = 0) -> None:
        self.wait(lambda: self._answers(number), f"{self.url(number)} answers")

    def wait(self, condition: Callable[[], object], what: str, within_s: float = 60) -> None:
        try:
            wait_for(condition, what, within_s)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{self.log()[-5000:]}") from exc

    def token(self, device: str) -> str:
        """Of a box, enrolled by its code."""
        return enrol(self.database, device, make_code(self.database, device, "test"))

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def _start(self, name: str, config: Path, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            whole = [sys.executable, "-m", "server.cli", "--config", str(config), *command]
            path = os.environ | {"PYTHONPATH": str(ROOT)}
            process = subprocess.Popen(whole, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=path)
        self.processes[name] = process
        return process

    def _answers(self, number: int) -> bool:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{self.url(number)}/login", timeout=5).close()
            return True
        return False


def cpu_s(pid: int) -> float:
    """That a process has used so far."""
    told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")
