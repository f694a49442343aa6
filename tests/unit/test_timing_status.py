"""Laps and the status file."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from edge import status, timing
from edge.types import Copies, SourceStats


def test_laps_and_waiting_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0, 5_000_000, 6_000_000, 10_000_000, 12_000_000])
    monkeypatch.setattr(timing.time, "perf_counter_ns", lambda: next(now))
    stages = timing.Stages(["wait", "capture", "infer"])
    stages.start()
    stages.lap("capture", waiting=("wait", 4_000_000))
    stages.lap("infer")
    stages.start()
    stages.lap("infer")
    assert stages.percentiles_ms("wait", [50]) == [4.0]
    assert stages.percentiles_ms("capture", [50]) == [1.0]
    assert stages.percentiles_ms("infer", [0, 100]) == [1.0, 2.0]
    assert stages.total_s("infer") == pytest.approx(0.003)


def test_only_the_last_laps_are_kept_but_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(0, 10**9, 1000))
    monkeypatch.setattr(timing.time, "perf_counter_ns", lambda: next(ticks))
    stages = timing.Stages(["a"])
    stages.start()
    for _ in range(timing.KEPT + 10):
        stages.lap("a")
    assert len(stages.recent_ns("a")) == timing.KEPT
    assert stages.total_s("a") == pytest.approx((timing.KEPT + 10) * 1e-6)
    assert timing.Stages(["b"]).percentiles_ms("b") == [0.0, 0.0]


def test_a_reader_never_sees_half_a_status(tmp_path: Path) -> None:
    path, stop, bad = tmp_path / "status.json", threading.Event(), []
    status.write(path, SourceStats(frames=1))

    def read() -> None:
        while not stop.is_set():
            if status.read(path, SourceStats) is None:
                bad.append(1)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(300):
        status.write(path, SourceStats(frames=number))
    stop.set()
    reader.join()
    assert not bad
    assert status.read(path, SourceStats) == SourceStats(frames=299)


def test_garbage_is_no_status(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    for content in (b"", b"{", b'{"frames": "x"}', b"\xff"):
        path.write_bytes(content)
        assert status.read(path, SourceStats) is None
    assert status.read(tmp_path / "none", SourceStats) is None


def test_rss_is_that_of_the_process() -> None:
    assert 5_000_000 < status.rss_bytes() < 4_000_000_000


class Reader:
    """A backend, as far as its counters go."""

    copies = Copies(host=20, h2d=5, device=10)


def test_copies_are_told_for_each_frame_that_was_handed_out() -> None:
    source = SourceStats(frames=20, withheld=5, host_copies=10, h2d=25, d2h=1)
    told = status.copies(source, Reader())  # type: ignore[arg-type]
    assert told == status.CopyStatus(host=1.5, h2d=1.5, d2h=0.05, device=0.5)
    assert status.copies(SourceStats(), Reader()).host == 20  # type: ignore[arg-type]  # before the first frame
