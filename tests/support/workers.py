"""Workers in processes of their own, which can be killed, and records for them to draft.

Their job has the form of `server.drafting`'s (version 1 of a report, a slow part, version 2), and writes each step that
it begins into a file. A record's name says what becomes of its slow part:
    fails-N  raises N times    kills-N  takes its worker along    hangs-N  goes on when the file `go` is there
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TypeAlias

import msgspec

from server import reports
from server.config import Config
from server.report import Drafted, Report, Sentence
from server.reports import Key, Version
from server.store.database import Database, open_database
from tests.support.procedures import record
from tests.support.waiting import wait_for

DEVICE = "box-1"


_fork = multiprocessing.get_context("forkserver")  # a worker begins in no time: its modules are there already
_fork.set_forkserver_preload(["dbos", "server.cli.work", "server.jobs", "server.keep", "tests.support.workers"])
Child: TypeAlias = ForkServerProcess


class Workers:
    """`config`: of their server. Kills all of its children at its end."""

    def __init__(self, folder: Path, config: Config, database: Database) -> None:
        self.folder, self._config, self._database = folder, config, database
        self.children: list[Child] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.kill()
            child.join()
            child.close()

    def start(self) -> Child:
        child = _fork.Process(target=_main, args=(self.folder, msgspec.json.encode(self._config)))
        child.start()
        self.children.append(child)
        return child

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def owe(self, *names: str) -> list[Key]:
        """Records that have no report yet."""
        made = [record(name) for name in names]
        with self._database.write() as connection:
            for one in made:
                assert reports.keep_record(connection, one, msgspec.json.encode(one))
        return [reports.key_of(one) for one in made]

    def history(self, key: Key) -> list[Version]:
        with self._database.read() as connection:
            return reports.history(connection, key)

    def whole(self, key: Key) -> bool:
        return [version.what for version in self.history(key)] == ["drafted", "worded"]

    def wait_whole(self, keys: list[Key], within_s: float = 60) -> None:
        self.wait(lambda: all(map(self.whole, keys)), "drafts of all", within_s)

    def begun(self) -> Counter[str]:
        """ "NAME step" → how often."""
        with contextlib.suppress(FileNotFoundError):
            return Counter((self.folder / "steps").read_text().splitlines())
        return Counter()

    def wait_begun(self, step: str, times: int = 1) -> None:
        self.wait(lambda: self.begun()[step] >= times, f"{step} begins")

    def wait(self, condition: Callable[[], object], what: str, within_s: float = 60) -> None:
        try:
            wait_for(condition, what, within_s)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{self.log()[-5000:]}") from exc


@contextlib.contextmanager
def workers(folder: Path, config: Config, database: Database) -> Iterator[Workers]:
    folder.mkdir()
    with Workers(folder, config, database) as made:
        yield made


# --------------------------------------------------------------------------------------------------- the child


def ended(child: Child, within_s: float = 30) -> int:
    """With what."""
    child.join(within_s)
    assert child.exitcode is not None, f"it has not ended within {within_s:g} s"
    return child.exitcode


def _main(folder: Path, encoded: bytes) -> None:
    from server import jobs
    from server.cli import work
    from server.keep import Folder

    told = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(told, stream)
    jobs.LOOK_S, jobs.SWEEP_S, jobs._POLL_S, jobs._AGAIN_MIN_S, work._GONE_WITHIN_S = 0.1, 0.5, 0.1, 0.5, 4.0
    jobs.FINISH_WITHIN_S, jobs._LOST_S = 2, 2.0
    config = msgspec.json.decode(encoded, type=Config)
    database = open_database(config.database, config.folder)
    draft = _workflow(folder)

    def due(database: Database) -> Iterator[jobs.Job]:
        with database.read() as connection:
            keys = [one.key for one in reports.undrafted(connection, 100)]
        yield from (jobs.Job(f"draft:{key}", draft, tuple(key)) for key in keys)

    work.until_told(lambda stop: jobs.work(config, database, Folder(config.folder / "frames"), (due,), stop))


def _workflow(folder: Path):  # type: ignore[no-untyped-def]
    from dbos import DBOS

    from server import jobs
    from server.errors import RefusedError, ServerError

    steps = os.open(folder / "steps", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def tell(key: Key, step: str) -> int:
        os.write(steps, f"{key.procedure} {step}\n".encode())
        return (folder / "steps").read_text().splitlines().count(f"{key.procedure} {step}")

    def append(key: Key, after: int, what: reports.What) -> None:
        said = Sentence(id="S1", section="procedure", text="The procedure took 10 min.", cites=("T1",), by="template")
        drafted = Drafted(by="template")
        report = Report(**key._asdict(), language="en", state="draft", drafted=drafted, sentences=(said,))
        with contextlib.suppress(RefusedError), jobs.Means.database.write() as connection:
            reports.append(connection, report, after=after, what=what, author="")

    @DBOS.step(name="template")
    def template(key: Key) -> None:
        tell(key, "template")
        append(key, 0, "drafted")

    @DBOS.step(name="word")
    def word(key: Key, tries: int) -> None:
        if tries > jobs.TRIES_MOST:
            return
        times, kind = tell(key, "word"), key.procedure.partition("-")[0]
        if kind == "fails" and times <= int(key.procedure.partition("-")[2]):
            raise ServerError("told to fail")
        if kind == "kills":
            os.kill(os.getpid(), signal.SIGKILL)
        while kind == "hangs" and not (folder / "go").exists():
            time.sleep(0.02)
        if kind == "slow":
            time.sleep(0.05)

    @DBOS.step(name="keep")
    def keep(key: Key) -> None:
        tell(key, "keep")
        append(key, 1, "worded")

    @jobs.workflow("draft")
    def draft(device: str, procedure: str, revision: int) -> None:
        key = Key(device, procedure, revision)
        tries = jobs.begun(jobs.Means.database, f"draft:{key}")
        template(key)
        word(key, tries)
        keep(key)

    return draft
