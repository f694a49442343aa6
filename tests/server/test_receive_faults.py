"""Uploads while things go wrong: the same from many at once, a disk that is full, a database that is away."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from server import drafting, receive, reports
from server.app import create
from server.config import Config
from server.enrolment import enrol, make_code
from server.errors import ServerError
from server.keep import Folder
from server.reports import Key
from server.store.database import Database, open_database
from server.store.migrate import migrate
from server.store.tables import audit, frames, records
from tests.support import postgresql
from tests.support.postgresql import PostgreSQL
from tests.support.procedures import record
from tests.support.report_service import ReportService
from tools import export_example

RECORD, FRAMES = export_example.example()
DEVICE = RECORD.heading.device
BODY = msgspec.json.encode(RECORD)
AT_ONCE = 6


def token(database: Database, device: str) -> str:
    return enrol(database, device, make_code(database, device, "test"))


@pytest.fixture
def others(database: Database, database_url: str, tmp_path: Path) -> Iterator[list[Database]]:
    """The same database, as so many processes have it open."""
    opened = [open_database(database_url, tmp_path) for _ in range(AT_ONCE)]
    yield opened
    for one in opened:
        one.close()


def test_the_same_from_many_at_once_is_kept_once(database: Database, others: list[Database], tmp_path: Path) -> None:
    token(database, DEVICE)
    keep, together = Folder(tmp_path / "frames"), threading.Barrier(AT_ONCE)

    def upload(mine: Database) -> tuple[int, bool]:
        together.wait()
        new = sum(receive.take_frame(mine, keep, DEVICE, sha256, jpeg) for sha256, jpeg in FRAMES.items())
        together.wait()
        return new, receive.take_record(mine, RECORD, BODY, "")[1]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(upload, others))
    assert sum(new for new, _ in done) == len(FRAMES)
    assert sorted(taken for _, taken in done) == [False] * (AT_ONCE - 1) + [True]
    with database.read() as connection:
        for table, wanted in ((frames, len(FRAMES)), (records, 1)):
            assert connection.execute(select(func.count()).select_from(table)).scalar() == wanted
        taken = select(func.count()).where(audit.c.what == "record.taken")
        assert connection.execute(taken).scalar() == 1


def test_records_that_cannot_be_drafted_hide_none(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are looked at in turn, whatever becomes of the first ones."""
    monkeypatch.setattr(drafting, "_AT_ONCE", 2)
    made = [record(f"p-{number}") for number in range(5)]
    with database.write() as connection:
        for one in made:
            reports.keep_record(connection, one, msgspec.json.encode(one))
    due = drafting.Due()
    looks = [[Key(*job.arguments).procedure for job in due(database)] for _ in range(4)]
    assert looks == [["p-0", "p-1"], ["p-2", "p-3"], ["p-4"], ["p-0", "p-1"]]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", folder]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small tmpfs here (needs root): {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_disk_that_is_full_is_said_and_nothing_is_half_there(database: Database, small: Path) -> None:
    app = create(Config(), database, Folder(small / "frames"))
    ballast = small / "ballast"
    with TestClient(app) as web:
        web.headers.update({"Authorization": f"Bearer {token(database, DEVICE)}", "Content-Type": "image/jpeg"})
        sha256, jpeg = next(iter(FRAMES.items()))
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        for _ in range(2):
            answer = web.put(f"/v1/frames/{sha256}", content=jpeg)
            assert (answer.status_code, answer.json()) == (
                503,
                {"error": "the server cannot do this now; its log says why"},
            )
        assert [file for file in small.rglob("*") if file.is_file()] == [ballast]
        with pytest.raises(ServerError, match="No space left on device") as told:
            Folder(small / "frames").put(sha256, jpeg)
        assert str(small / "frames") in str(told.value)
        with database.read() as connection:
            assert connection.execute(select(func.count()).select_from(frames)).scalar() == 0
        ballast.unlink()
        assert web.put(f"/v1/frames/{sha256}", content=jpeg).status_code == 201
        assert Folder(small / "frames").get(sha256) == jpeg


@pytest.mark.skipif(bool(postgresql.missing()), reason=postgresql.missing())
def test_a_database_that_is_away_is_waited_for(tmp_path: Path) -> None:
    """The web stays, answers 503, and goes on when PostgreSQL is back."""
    with PostgreSQL() as server:
        database = open_database(server.url(), tmp_path)
        migrate(database)
        with TestClient(create(Config(), database, Folder(tmp_path / "frames"))) as web:
            web.headers.update({"Authorization": f"Bearer {token(database, DEVICE)}", "Content-Type": "image/jpeg"})
            server.stop("immediate")
            sent = [web.put(f"/v1/frames/{sha256}", content=jpeg).status_code for sha256, jpeg in FRAMES.items()]
            assert set(sent) == {503}
            server.start()
            sent = [web.put(f"/v1/frames/{sha256}", content=jpeg).status_code for sha256, jpeg in FRAMES.items()]
            assert set(sent) == {201}
            answer = web.post("/v1/procedures", content=BODY, headers={"Content-Type": "application/json"})
            assert answer.status_code == 201
            assert hashlib.sha256(BODY).hexdigest() == _digest(database)
        database.close()


def _digest(database: Database) -> str:
    with database.read() as connection:
        return str(connection.execute(select(records.c.digest)).scalar_one())


@pytest.mark.parametrize("told", [True, False])
def test_two_gigabytes_are_refused_before_they_have_come(told: bool, tmp_path: Path) -> None:
    """By the real server, with the length said and without."""
    with ReportService(tmp_path, worker=False) as service:
        head = f"PUT /v1/frames/{'0' * 64} HTTP/1.1\r\nHost: box\r\nContent-Type: image/jpeg\r\n"
        head += f"Authorization: Bearer {service.enrol('box-1')}\r\n"
        head += f"Content-Length: {2 << 30}\r\n\r\n" if told else "Transfer-Encoding: chunked\r\n\r\n"
        with socket.create_connection(("127.0.0.1", service.port), 20) as link:
            link.sendall(head.encode())
            sent = 0
            with contextlib.suppress(OSError):  # it hangs up while we still send
                while not told and sent < 2 << 30:
                    link.sendall(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
                    sent += 1 << 16
            assert sent < 64 << 20
            assert link.recv(100).startswith(b"HTTP/1.1 413 ")
