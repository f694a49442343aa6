"""The example's procedure on a report server's database, what people do to its report, and workers that deliver it.

A worker is a process of its own (`python -m tests.support.signing FOLDER`) with nothing but deliveries to do, so that
it can be killed.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec

from edge.procedure import Record
from server import deliver, deliveries, jobs, reports
from server.cli.work import until_told
from server.clock import now
from server.config import Config, Export
from server.deliveries import Delivery
from server.edits import amend, sign
from server.keep import Folder
from server.patient import Patient
from server.report import Report, Signature
from server.reports import Key, What
from server.store.database import Database, open_database
from server.store.tables import joined
from tests.support.waiting import wait_for
from tools import export_example
from tools.export_example import PATIENT

ROOT = Path(__file__).parents[2]
OTHER = Patient(id="0000999", issuer="Example Hospital", family="Somebody", given="Else")


class Desk:
    """Kills its workers at its end."""

    def __init__(self, folder: Path, database: Database, url: str, **export: Any) -> None:
        """`url`: of the database, as `server.toml` has it. `export`: of `server.config.Export`."""
        self.database, self.keep, self._folder = database, Folder(folder / "frames"), folder
        self.config = Config(
            data_dir=str(folder), database=url, institution="Example Hospital", export=Export(**export)
        )
        self.workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def configure(self, **export: Any) -> None:
        """For workers that are started from now on."""
        self.config = msgspec.structs.replace(self.config, export=Export(**export))

    # ----------------------------------------------------------------------------------- what people do

    def take(self, name: str = "1") -> Record:
        """A procedure's record and its key frames, as a box sends them."""
        record, frames = export_example.example()
        record = msgspec.structs.replace(record, procedure=f"procedure-{name}")
        for sha256, jpeg in frames.items():
            self.keep.put(sha256, jpeg)
        with self.database.write() as connection:
            reports.keep_record(connection, record, msgspec.json.encode(record))
        return record

    def draft(self, name: str = "1") -> Key:
        record = self.take(name)
        self._append(msgspec.structs.replace(export_example.draft(), procedure=record.procedure), 0, "drafted")
        return reports.key_of(record)

    def sign(self, key: Key, patient: Patient = PATIENT) -> None:
        found = self._newest(key)
        self._append(sign(found.report, _eva(), 1), found.number, "signed", patient)

    def amend(self, key: Key, text: str = "An addendum.") -> None:
        found = self._newest(key)
        with self.database.read() as connection:
            record = reports.record(connection, key)
        assert record is not None
        self._append(amend(found.report, [("summary", text, ())], _eva(), record), found.number, "amended")

    def correct(self, key: Key, patient: Patient) -> None:
        found = self._newest(key)
        self._append(found.report, found.number, "corrected", patient)

    def _newest(self, key: Key) -> reports.Version:
        with self.database.read() as connection:
            found = reports.newest(connection, key)
        assert found is not None
        return found

    def _append(self, report: Report, after: int, what: What, patient: Patient | None = None) -> None:
        """With all that belongs to it, in one transaction."""
        key = Key(report.device, report.procedure, report.revision)
        with self.database.write() as connection:
            if patient is not None:
                row = {"device": key.device, "procedure": key.procedure, "author": "etest", "at": now()}
                row |= {"number": deliveries.patient_number(connection, key) + 1}
                connection.execute(joined.insert(), row | {"body": msgspec.json.encode(patient)})
            number = reports.append(connection, report, after=after, what=what, author="etest")
            deliveries.owe(connection, self.config, key, number, report)

    # ------------------------------------------------------------------------------------------ deliveries

    def of(self, key: Key) -> list[Delivery]:
        with self.database.read() as connection:
            return deliveries.of(connection, key)

    def states(self, key: Key) -> dict[tuple[int, str], str]:
        """By the version's number and system."""
        return {(one.number, one.target): one.state for one in self.of(key)}

    def wait(self, key: Key, *states: str) -> dict[str, Delivery]:
        """By system, the newest version's deliveries, once all are in one of these states."""

        def newest() -> dict[str, Delivery]:
            found = self.of(key)
            return {one.target: one for one in found if one.number == found[0].number}

        def reached() -> bool:
            return {one.state for one in newest().values()} <= set(states)

        wait_for(lambda: reached() or self._fallen(), f"{key}: {', '.join(states)}")
        assert reached(), f"{self.of(key)}\n{self.log()}"
        return newest()

    def _fallen(self) -> bool:
        return bool(self.workers) and all(worker.poll() is not None for worker in self.workers)

    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def work(self) -> subprocess.Popen[bytes]:
        """A worker."""
        (self._folder / "config.json").write_bytes(msgspec.json.encode(self.config))
        with (self._folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "tests.support.signing", str(self._folder)]
            worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)
        self.workers.append(worker)
        return worker


def _eva() -> Signature:
    return Signature(account="etest", name="Dr. Eva Test", at=now())


def main(folder: Path) -> None:
    config = msgspec.json.decode((folder / "config.json").read_bytes(), type=Config)
    database = open_database(config.database, folder)

    def work(stop: threading.Event) -> None:
        jobs.work(config, database, Folder(folder / "frames"), (deliver.due,), stop)

    until_told(work)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
