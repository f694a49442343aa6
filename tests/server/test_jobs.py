"""Durable jobs: real workers in processes of their own, killed, stopped and cut off from their database."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server import jobs
from server.config import Config
from server.store.database import Database, open_database
from server.store.migrate import migrate
from tests.support import postgresql
from tests.support.postgresql import PostgreSQL
from tests.support.workers import Workers, ended, workers


@pytest.fixture
def crew(database: Database, database_url: str, tmp_path: Path) -> Iterator[Workers]:
    with workers(tmp_path / "crew", Config(data_dir=str(tmp_path), database=database_url), database) as made:
        yield made


on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def test_each_record_is_drafted_once_by_whichever_worker(crew: Workers) -> None:
    keys = crew.owe(*(f"slow-{number}" for number in range(20)))
    for _ in range(2):
        crew.start()
    crew.wait_whole(keys)
    late = crew.owe("late")
    crew.wait_whole(late)
    assert set(crew.begun().values()) == {1}
    assert len(crew.begun()) == 21 * 3


def test_killed_at_a_step_another_worker_goes_on_at_that_step(crew: Workers) -> None:
    first, other = crew.start(), crew.owe("hangs-1")
    crew.wait_begun("hangs-1 word")
    heir = crew.start()  # another seat
    crew.wait_whole(crew.owe("plain"))
    first.kill()
    crew.wait_begun("hangs-1 word", 2)
    (crew.folder / "go").touch()
    crew.wait_whole(other)
    assert crew.begun()["hangs-1 template"] == 1
    assert heir.is_alive()


def test_killed_at_random_nothing_is_lost_or_doubled(crew: Workers) -> None:
    dice = random.Random(7)
    keys = crew.owe(*(f"slow-{number}" for number in range(60)))
    alive = [crew.start(), crew.start()]
    crew.wait(lambda: crew.begun(), "they begin")
    for _ in range(6):
        time.sleep(dice.uniform(0.05, 0.4))
        victim = alive.pop(dice.randrange(2))
        victim.kill()
        victim.join()
        alive.append(crew.start())
    crew.wait_whole(keys, 90)
    versions = [version.number for key in keys for version in crew.history(key)]
    assert versions == [1, 2] * 60


@on_postgresql
def test_a_job_that_takes_its_worker_along_is_left_out_and_the_template_stands(crew: Workers) -> None:
    keys = crew.owe("kills-1", "plain")

    def kept_alive() -> bool:
        if not crew.children or not crew.children[-1].is_alive():
            crew.start()
        return all(map(crew.whole, keys))

    crew.wait(kept_alive, "both are drafted", 90)
    assert crew.begun()["kills-1 word"] == 5
    assert crew.begun()["plain word"] <= 6


@on_sqlite
def test_what_fails_is_tried_again_at_the_step_that_failed(crew: Workers) -> None:
    keys = crew.owe("fails-2", "plain")
    crew.start()
    crew.wait_whole(keys)
    assert crew.begun()["fails-2 word"] == 3
    assert crew.begun()["fails-2 template"] == 1


@on_sqlite
def test_what_was_taken_and_never_begun_goes_back(crew: Workers, tmp_path: Path) -> None:
    """As when the database is lost between the two."""
    keys = crew.owe(*(f"hangs-{number}" for number in range(jobs.QUEUES["drafts"] + 1)))
    crew.start()
    crew.wait(lambda: sum(crew.begun().values()) == 2 * jobs.QUEUES["drafts"], "its hands are full")
    with sqlite3.connect(tmp_path / "jobs.db") as made:
        taken = "UPDATE workflow_status SET status = 'PENDING', executor_id = '1' WHERE status = 'ENQUEUED'"
        assert made.execute(taken).rowcount == 1
    made.close()
    (crew.folder / "go").touch()
    crew.wait_whole(keys)
    assert "was taken and not begun" in crew.log()


@on_sqlite
def test_told_to_end_it_finishes_what_it_has_in_hand(crew: Workers) -> None:
    child, keys = crew.start(), crew.owe("hangs-1")
    crew.wait_begun("hangs-1 word")
    child.terminate()
    time.sleep(0.2)
    (crew.folder / "go").touch()
    assert ended(child) == 0, crew.log()
    assert crew.whole(keys[0])


@on_postgresql
def test_told_to_end_it_leaves_behind_what_hangs_and_the_next_one_goes_on(crew: Workers) -> None:
    child, keys = crew.start(), crew.owe("hangs-1")
    crew.wait_begun("hangs-1 word")
    child.terminate()
    ended(child)
    assert not crew.whole(keys[0])
    (crew.folder / "go").touch()
    crew.start()
    crew.wait_whole(keys)
    assert crew.begun()["hangs-1 word"] == 2


@pytest.mark.skipif(bool(postgresql.missing()), reason=postgresql.missing())
def test_postgresql_restarted_while_workers_work(tmp_path: Path) -> None:
    """They end, since their seats may be others' now, and the next ones go on."""
    with PostgreSQL() as server:
        url = server.url()
        database = open_database(url, tmp_path)
        migrate(database)
        with workers(tmp_path / "crew", Config(data_dir=str(tmp_path), database=url), database) as crew:
            keys = crew.owe("hangs-1", *(f"slow-{number}" for number in range(30)))
            first = [crew.start(), crew.start()]
            crew.wait_begun("hangs-1 word")
            server.stop("immediate")
            server.start()
            assert [ended(child) for child in first] == [1, 1], crew.log()
            assert "the connection that holds a worker's seat" in crew.log()
            (crew.folder / "go").touch()
            crew.start()
            crew.wait_whole(keys)
        database.close()
