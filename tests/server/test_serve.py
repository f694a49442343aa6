"""`endoedge-server serve` and `work` as processes."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.uplink import reports as uplink
from server import reports
from server.reports import Key
from tests.support.boxes import SimBox
from tests.support.farm import Farm
from tests.support.waiting import wait_for


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    with Farm(tmp_path / "farm") as made:
        yield made


def worker_of(pid: int) -> int:
    """The process that `serve` started beside itself; 0: none now."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    numbers = [int(number) for file in found for number in file.read_text().split()]
    return next((number for number in numbers if b"\0work\0" in _command(number)), 0)


def _command(pid: int) -> bytes:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def gone(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def drafted(farm: Farm, name: str) -> bool:
    with farm.database.read() as connection:
        return reports.newest(connection, Key("box-1", name, 1)) is not None


def test_from_a_box_to_a_draft_and_down_again(farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is killed is started again, and both end when they are told to."""
    monkeypatch.setattr(uplink, "LOOK_S", 0.05)
    web = farm.web(0, worker=True)
    farm.wait_up()
    wait_for(lambda: worker_of(web.pid), "a worker beside it")
    first = worker_of(web.pid)
    os.kill(first, signal.SIGKILL)
    box = SimBox(tmp_path / "box", "box-1", farm.token("box-1"), farm.url())
    box.lay("p-1")
    box.start()
    farm.wait(lambda: drafted(farm, "p-1"), "a draft by the next worker")
    box.close()
    second = worker_of(web.pid)
    assert second not in (0, first)
    assert farm.kill("web 0", signal.SIGTERM) == 0, farm.log()
    assert gone(second)
    assert "Traceback" not in farm.log()


def test_a_web_that_is_killed_takes_its_worker_along(farm: Farm) -> None:
    web = farm.web(0, worker=True)
    farm.wait_up()
    wait_for(lambda: worker_of(web.pid), "a worker beside it")
    worker = worker_of(web.pid)
    farm.kill("web 0")
    farm.wait(lambda: gone(worker), "the worker ends by itself")
