"""What open pages are told, without a browser."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy

from server.keep import Folder
from server.store.database import Database, open_database
from server.store.migrate import migrate
from server.web import live
from server.web.live import Event, Live, Stream
from server.web.routes_list import show
from tests.support import desk_of_reports as desk


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOK_S", 0.02)


def _until(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)


async def _next(stream: Stream) -> Event | None:
    async for event in stream.events():
        return event
    return None


def test_what_comes_and_what_changes_is_told_to_everybody(database: Database, tmp_path: Path, quick: None) -> None:
    keep, feed = Folder(tmp_path / "frames"), Live(database, show)
    desk.procedure(database, keep, desk.another(1))

    async def run() -> list[Event]:
        with feed.stream() as first, feed.stream() as second:
            await asyncio.sleep(0.2)  # its first look has been: what was there is not new
            await asyncio.to_thread(desk.procedure, database, keep, desk.another(2), drafted=False)
            told = [await _next(first), await _next(first)]
            assert await _next(second) == told[0]
            assert feed.streams == 2
            return [event for event in told if event is not None]

    rows, report = asyncio.run(run())
    assert (rows.name, report.name, report.of[1]) == ("rows", "report", desk.another(2).procedure)
    assert desk.another(2).procedure in rows.data
    assert desk.another(1).procedure not in rows.data
    feed.close()


def test_a_reader_that_does_not_keep_up_is_let_go() -> None:
    async def run() -> None:
        stream = Stream()
        event = Event(name="rows", data="x")
        stream.tell([event] * (live.WAITING_MOST + 1))
        await asyncio.sleep(0)
        assert [one async for one in stream.events()] == []

    asyncio.run(run())


def test_streams_end_when_the_server_does(tmp_path: Path, quick: None) -> None:
    database = open_database("", tmp_path)
    migrate(database)
    feed = Live(database, show)

    async def run() -> None:
        with feed.stream() as before:
            threading.Timer(0.1, feed.close).start()
            assert [one async for one in before.events() if one] == []
        with feed.stream() as after:
            assert [one async for one in after.events() if one] == []

    asyncio.run(run())
    _until(lambda: not any(thread.name == "live" for thread in threading.enumerate()))
    database.close()


def test_nobody_listens_and_nothing_is_asked(tmp_path: Path, quick: None) -> None:
    database = open_database("", tmp_path)
    migrate(database)
    feed = Live(database, show)

    async def run() -> None:
        with feed.stream():
            await asyncio.sleep(0.05)

    asyncio.run(run())
    _until(lambda: feed._thread is None)
    database.close()


def test_a_database_that_is_away_for_a_while_is_no_end(
    tmp_path: Path, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    database = open_database("", tmp_path)
    migrate(database)
    keep, feed = Folder(tmp_path / "frames"), Live(database, show)
    away = False

    @sqlalchemy.event.listens_for(database.engine, "do_connect")
    def _(*_: object) -> None:
        if away:
            raise sqlite3.OperationalError("unable to open database file")

    async def run() -> Event | None:
        nonlocal away
        with feed.stream() as stream:
            await asyncio.sleep(0.2)
            away = True
            database.engine.dispose()
            await asyncio.sleep(0.3)
            away = False
            await asyncio.to_thread(desk.procedure, database, keep, desk.another(3), drafted=False)
            return await _next(stream)

    event = asyncio.run(run())
    assert event is not None
    assert desk.another(3).procedure in event.data
    feed.close()
    _until(lambda: not any(thread.name == "live" for thread in threading.enumerate()))
    assert 1 <= sum("live:" in told.getMessage() for told in caplog.records) <= 2
    database.close()
