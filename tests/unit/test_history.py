"""The last troubles: what is kept of them, in the core's file and in the uplink's."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge import status
from edge.cli import safe
from edge.cli.mishaps import FILE, Mishaps
from edge.history import KEPT, History, Trouble
from edge.messages import EngineChanged
from edge.types import BoardReading, Gap, SignalState

S = 1_000_000_000


def test_a_stretch_of_time_is_one_trouble() -> None:
    history = History()
    history.step({"signal": "no_signal: no cable for 1 s", "outbox": ""}, 10 * S)
    history.step({"signal": "no_signal: no cable for 2 s"}, 11 * S)
    history.step({}, 13 * S)
    history.step({}, 14 * S)
    history.step({"signal": "black"}, 20 * S)
    assert history.troubles == (
        Trouble(where="signal", what="no_signal: no cable for 2 s", since_ns=10 * S, until_ns=13 * S),
        Trouble(where="signal", what="black", since_ns=20 * S),
    )


def test_the_oldest_go() -> None:
    history = History()
    for number in range(3 * KEPT):
        history.step({f"part {number}": "broken"}, number)
    assert [trouble.where for trouble in history.troubles] == [f"part {n}" for n in range(2 * KEPT, 3 * KEPT)]
    history.note("engine", "failed", 99)
    assert len(history.troubles) == KEPT
    assert history.troubles[-1].until_ns == 99


def test_what_lasted_ends_with_its_process() -> None:
    """And is found anew, if it still is so; what is from the future is of another boot."""
    lasting, future = (Trouble(where="broker", what="away", since_ns=since) for since in (5, 50))
    history = History([lasting, future], now_ns=10)
    assert history.troubles == (Trouble(where="broker", what="away", since_ns=5, until_ns=10),)
    history.step({"broker": "away"}, 11)
    assert len(history.troubles) == 2


def hear(mishaps: Mishaps, moment: Gap | None = None, events: Any = (), fault: str = "", board: Any = None) -> None:
    ledger: Any = SimpleNamespace(fault=fault)
    mishaps.hear(moment, events, ledger, None, board)


def gap(state: SignalState) -> Gap:
    return Gap(captured_ns=1, media_ns=1, state=state, detail="why")


def test_the_core_s_are_kept_over_its_restarts(tmp_path: Path) -> None:
    first = Mishaps(tmp_path)
    hear(first, gap(SignalState.DEVICE_GONE), fault="the disk is full")
    hear(first, board=BoardReading(kind="pc", read_ns=1, throttled=("cpu",)))
    failed = EngineChanged(state="failed", detail="no memory", captured_ns=1, media_ns=1)
    hear(first, gap(SignalState.LIVE), events=[failed])
    (tmp_path / safe.END).write_text("watchdog dumped ABRT\n")
    said = [(trouble.where, trouble.what) for trouble in Mishaps(tmp_path).troubles]
    assert said == [
        ("signal", "device_gone: why"),
        ("events", "the disk is full"),
        ("board", "throttled: cpu"),
        ("engine", "no memory"),
        ("core", "was started again: it hung"),
    ]
    assert status.read(tmp_path / FILE, list[Trouble])


@pytest.mark.parametrize("end", ["", "success exited 0"])
def test_a_good_end_is_no_trouble(tmp_path: Path, end: str) -> None:
    (tmp_path / safe.END).write_text(end)
    assert Mishaps(tmp_path).troubles == ()


def test_a_bad_end_is_told_once(tmp_path: Path) -> None:
    (tmp_path / safe.END).write_text("signal killed KILL")
    (tmp_path / safe.WORDS).write_text("out of frames")
    (trouble,) = Mishaps(tmp_path).troubles
    assert trouble.what == "was started again: it was killed (SIGKILL): out of frames"
    assert len(Mishaps(tmp_path).troubles) == 1


def test_a_file_that_is_none_is_none(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\xff{")
    before_ns = time.monotonic_ns()
    mishaps = Mishaps(tmp_path)
    hear(mishaps, gap(SignalState.FROZEN))
    (trouble,) = mishaps.troubles
    assert trouble.since_ns >= before_ns
    assert trouble.until_ns == 0


def test_a_disk(tmp_path: Path) -> None:
    disk = status.disk(tmp_path)
    assert disk is not None
    assert 0 < disk.free_mib <= disk.size_mib
    assert status.disk(tmp_path / "nowhere") is None
