"""The example's procedure on a report server's database, what people do to its report, and workers that deliver it.

A worker is a process of its own (`python -m tests.support.desk_of_reports FOLDER`), so that it can be killed.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from server import deliveries, reports
from server.clock import now
from server.cli.work import until_told
from server.config import Config, Export
from server.deliveries import Delivery, Target
from server.edits import amend, sign
from server.keep import Folder
from server.patient import Patient
from server.report import Report, Signature
from server.reports import Key
from server.store.database import Database, open_database
from server.store.tables import joined
from tests.support.waiting import wait_for
from tools import export_example
from tools.export_example import PATIENT

ROOT = Path(__file__).parents[2]
EVA = Signature(account="etest", name="Dr. Eva Test", at="2026-03-02T10:05:11Z")


class Desk:
    """`config`: of its server. Kills its workers at its end."""

    def __init__(self, folder: Path, database: Database, config: Config) -> None:
        self.folder, self.database, self.config = folder, database, config
        self.keep = Folder(folder / "frames")
        self.children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.kill()
            child.wait()

    # -------------------------------------------------------------------------------------------- reports

    def drafted(self, name: str = "1") -> Key:
        """A procedure of that name, its key frames and its draft, as a draft's job leaves them."""
        record, frames = export_example.example()
        record = msgspec.structs.replace(record, procedure=f"procedure-{name}")
        for sha256, jpeg in frames.items():
            self.keep.put(sha256, jpeg)
        report = msgspec.structs.replace(export_example.draft(), procedure=record.procedure)
        with self.database.write() as connection:
            reports.keep_record(connection, record, msgspec.json.encode(record))
            self._append(report, 0, "drafted")
        return reports.key_of(record)

    def _append(self, report: Report, after: int, what: reports.What) -> int:
        raise NotImplementedError
