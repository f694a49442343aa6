"""A report server that is gone for a day, and a spool that is too small for that day: core and uplink at their own
pace, over the same folder. Each procedure ends on the server, whole and once, or in an event that says that
it is lost."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from edge import spooled
from edge.record.spool import NOT_SENT, Job, Spool
from edge.uplink import reports
from edge.uplink.config import ReportsConfig
from edge.uplink.reports import Reports
from edge.uplink.shelf import Shelf
from tests.support.broker import free_port
from tests.support.procedures import jpeg, lay, record
from tests.support.report_server import TOKEN, ReportServer, serving
from tests.support.waiting import wait_for

PICTURES, SIZE = 3, 2000
ROOM = 64_000  # about eight procedures


class Core:
    """What a core does to its spool, and what it would say."""

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder, ROOM, owed=True, keep_sent=2)
        self.told: dict[str, str] = {}
        self.made: dict[str, list[bytes]] = {}

    def procedure(self) -> None:
        name = f"run-{len(self.made):03d}"
        pictures = self.made[name] = [jpeg(f"{name} {number}", SIZE) for number in range(PICTURES)]
        self._record(name, pictures, "running")
        for number, picture in enumerate(pictures):
            assert self.spool.put(Job(name, f"polyp-{number:04d}", {".jpg": picture, ".json": b"{}"}))
        self._record(name, pictures, "ended")
        self.hear()

    def _record(self, name: str, pictures: list[bytes], state: str) -> None:
        content = msgspec.json.encode(record(name, pictures, state=state))
        self.spool.put_record(name, lambda folder: content)
        wait_for(lambda: not self.spool.status().waiting, f"{name} is written")

    def hear(self) -> None:
        for name, reason in self.spool.tombs().items():  # the event is committed, and then the last trace goes
            self.told[name] = reason
            self.spool.bury(name)

    def close(self) -> None:
        self.spool.close()
        self.hear()


def uploading(folder: Path, url: str) -> Reports:
    token = folder.parent / "token"
    token.write_text(TOKEN)
    table = {"url": url, "token_file": str(token), "retry_min_s": 0.05, "retry_max_s": 0.1}
    return Reports(msgspec.convert(table, ReportsConfig), folder)


def left(folder: Path) -> list[Path]:
    return [path.parent for path in folder.glob(f"*/{spooled.RECORD}")]


def is_whole(core: Core, server: ReportServer, name: str) -> bool:
    sent = msgspec.json.decode(server.records[name], type=spooled.Record)
    return [server.frames[frame.sha256] for frame in sent.key_frames()] == core.made[name]


def test_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "LOOK_S", 0.05)
    folder, port, dice = tmp_path / "spool", free_port(), random.Random(7)
    core, upload = Core(folder), uploading(folder, f"http://127.0.0.1:{port}")
    try:
        for _ in range(16):
            core.procedure()
        lost = list(core.told)
        assert 0 < len(lost) < 16
        assert lost == sorted(core.made)[: len(lost)]  # the oldest, in order, and each with a word
        assert set(core.told.values()) == {NOT_SENT}
        with serving(port=port) as server:
            wait_for(lambda: upload.status().sent == 16 - len(lost), "what was kept is sent")
            assert list(server.records) == sorted(core.made)[len(lost) :]
            server.fail = lambda method, path: 503 if dice.random() < 0.2 else 0
            server.lose = lambda status, path: dice.random() < 0.2
            for number in range(12):  # and the day after, on a bad line, with an uplink that dies now and then
                core.procedure()
                if number % 4 == 3:
                    upload.close()
                    upload = uploading(folder, server.url)
            server.fail, server.lose = (lambda method, path: 0), (lambda status, path: False)
            wait_for(lambda: set(server.records) | set(core.told) == set(core.made), "all that is there is sent")
            wait_for(lambda: all(map(spooled.is_sent, left(folder))), "and marked")
            core.procedure()
            core.close()
            wait_for(lambda: len(server.records) + len(core.told) >= len(core.made), "the last one")
            assert all(is_whole(core, server, name) for name in server.records)
            assert set(server.stored.values()) == {1}
    finally:
        upload.close()
        core.spool.close()
    assert len(left(folder)) == 2 + 1  # `keep_sent`, and the newest, which was sent after its record was written


def test_one_that_is_being_removed_is_not_sent_without_its_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The core makes room between the uplink's look at the record and at the pictures."""
    monkeypatch.setattr(reports, "LOOK_S", 0.05)
    folder, real = tmp_path / "spool", Shelf.frames
    lay(folder, "run-1")
    seen: list[str] = []

    def frames(self: Shelf, procedure: str) -> dict[str, Path]:
        seen.append(procedure)
        (folder / procedure / spooled.DROPPED).write_bytes(b"{}")
        (folder / procedure / "polyp-0001.jpg").unlink()
        return real(self, procedure)

    monkeypatch.setattr(Shelf, "frames", frames)
    with serving() as server:
        upload = uploading(folder, server.url)
        wait_for(lambda: seen and upload.status().waiting == 0, "it is let go")
        upload.close()
        assert (server.asked, seen) == ([], ["run-1"])
