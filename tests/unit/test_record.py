"""Key frames and clips: what is picked, what it is called, and a spool that is bounded, whole, and never in the way."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.capture.stills import Stills, mask_svg
from edge.errors import CaptureError
from edge.messages import Alert, Event, FindingEnded, LandmarkReached, Priority
from edge.record.config import RecordConfig
from edge.record.recorder import Recorder, in_still
from edge.record.spool import Job, Spool
from edge.types import Field, Gap, SignalState, Still

S = 1_000_000_000
FIELD = Field(x=100, y=50, width=400, height=300, outline=((100, 50), (500, 50), (500, 350), (100, 350)))


def still(media_ns: int, size: int = 10) -> Still:
    jpeg = f"{media_ns}".encode().ljust(size, b".")
    return Still(captured_ns=media_ns + 7, media_ns=media_ns, jpeg=jpeg, width=200, height=150, field=FIELD)


class Ring:
    """Ten pictures a second, from 0 to `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.stills = [still(step * S // 10) for step in range(round(seconds * 10))]

    def nearest(self, media_ns: int) -> Still | None:
        return min(self.stills, key=lambda one: abs(one.media_ns - media_ns), default=None)

    def between(self, first_ns: int, last_ns: int) -> Sequence[Still]:
        return [one for one in self.stills if first_ns <= one.media_ns <= last_ns]


def at(media_ns: int) -> Gap:
    return Gap(captured_ns=media_ns, media_ns=media_ns, state=SignalState.LIVE)


def alert(media_ns: int, track: int = 3) -> Alert:
    return Alert(
        kind="polyp",
        priority=Priority.MEDIUM,
        text="",
        captured_ns=media_ns,
        media_ns=media_ns,
        procedure="run-1",
        track=track,
        box=(300.0, 200.0, 340.0, 260.0),
        score=0.9,
    )


def ended(best_ns: int) -> FindingEnded:
    return FindingEnded(
        label="polyp", track=3, procedure="run-1", captured_ns=0, media_ns=9 * S, first_seen_ns=0, frames=9,
        best_score=0.97, best_box=(100.0, 50.0, 300.0, 200.0), best_seen_ns=best_ns,
    )  # fmt: skip


def keep(folder: Path, steps: Sequence[tuple[int, list[Event]]], seconds: float = 10, **options: object) -> list[str]:
    """What a run leaves in the spool."""

    def mux(stills: Sequence[Still], path: Path) -> None:
        path.write_bytes(b"\n".join(one.jpeg for one in stills))

    spool = Spool(folder, 2**20)
    recorder = Recorder(RecordConfig(**options), "box-1", Ring(seconds), spool, mux)  # type: ignore[arg-type]
    for media_ns, events in steps:
        recorder.step(at(media_ns), events)
    recorder.close()
    assert recorder.status.dropped == 0
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*"))


def test_an_announced_finding_leaves_a_picture_that_says_what_it_shows(tmp_path: Path) -> None:
    names = keep(tmp_path, [(2 * S, [alert(2 * S)]), (3 * S, [])])
    assert names == ["run-1/polyp-0003.jpg", "run-1/polyp-0003.json"]
    assert (tmp_path / names[0]).read_bytes() == still(2 * S).jpeg
    shown = json.loads((tmp_path / names[1]).read_text())
    assert shown["box"] == [100.0, 75.0, 120.0, 105.0]  # half the field's size, from its corner
    assert shown["source_box"] == [300.0, 200.0, 340.0, 260.0]
    assert (shown["device"], shown["procedure"], shown["track"], shown["media_ns"]) == ("box-1", "run-1", 3, 2 * S)


def test_the_picture_is_taken_when_the_branch_has_had_time(tmp_path: Path) -> None:
    """The still of a frame comes a little after the frame: the ring is asked then, and not at once."""
    spool = Spool(tmp_path, 2**20)
    ring = Ring(0)
    recorder = Recorder(RecordConfig(), "box-1", ring, spool, lambda stills, path: None)
    recorder.step(at(2 * S), [alert(2 * S)])
    ring.stills = [still(2 * S)]
    recorder.step(at(2 * S + S // 2), [])
    recorder.close()
    assert (tmp_path / "run-1" / "polyp-0003.jpg").exists()


def test_the_best_view_takes_the_first_ones_place_while_it_is_remembered(tmp_path: Path) -> None:
    keep(tmp_path, [(2 * S, [alert(2 * S)]), (9 * S, [ended(6 * S)])])
    assert (tmp_path / "run-1" / "polyp-0003.jpg").read_bytes() == still(6 * S).jpeg
    keep(tmp_path / "b", [(2 * S, [alert(2 * S)]), (90 * S, [ended(60 * S)])])
    assert (tmp_path / "b" / "run-1" / "polyp-0003.jpg").read_bytes() == still(2 * S).jpeg


def test_a_landmark_and_an_alert_without_a_region(tmp_path: Path) -> None:
    caecum = LandmarkReached(
        kind="caecum", procedure="run-1", captured_ns=0, media_ns=S, first_seen_ns=0, after_ns=0, best_score=1.0
    )
    assert keep(tmp_path, [(S, [caecum, alert(S, track=0)])]) == [
        "run-1/landmark-caecum.jpg",
        "run-1/landmark-caecum.json",
    ]


def test_a_clip_holds_the_seconds_around(tmp_path: Path) -> None:
    options = {"clips": True, "key_frames": False, "before_s": 1.0, "after_s": 2.0}
    assert keep(tmp_path, [(5 * S, [alert(5 * S)]), (6 * S, [])], **options) == ["run-1/polyp-0003.mkv"]
    frames = (tmp_path / "run-1" / "polyp-0003.mkv").read_bytes().split(b"\n")
    assert frames[0] == still(4 * S).jpeg
    assert len(frames) == 31


def test_both_off_keeps_nothing(tmp_path: Path) -> None:
    assert keep(tmp_path, [(5 * S, [alert(5 * S)])], key_frames=False) == []


@given(x=st.floats(-1e4, 1e4), y=st.floats(-1e4, 1e4), w=st.floats(0, 1e4), h=st.floats(0, 1e4))
def test_a_box_stays_inside_the_still(x: float, y: float, w: float, h: float) -> None:
    x0, y0, x1, y1 = in_still((x, y, x + w, y + h), still(0))
    assert 0 <= x0 <= x1 <= 200
    assert 0 <= y0 <= y1 <= 150


# ------------------------------------------------------------------------------------------------ spool


def fill(spool: Spool, count: int, size: int = 1000) -> None:
    for number in range(count):
        assert spool.put(Job(f"p{number // 4}", f"polyp-{number:04d}", {".jpg": bytes(size), ".json": b"{}"}))


def test_the_oldest_go_first_and_whole(tmp_path: Path) -> None:
    for number in range(8):
        old = tmp_path / f"p{number // 4}" / f"polyp-{number:04d}"
        old.parent.mkdir(exist_ok=True)
        for suffix in (".jpg", ".json"):
            old.with_suffix(suffix).write_bytes(bytes(500))
            os.utime(old.with_suffix(suffix), ns=(number, number))
    spool = Spool(tmp_path, 8000)
    spool.put(Job("p2", "new", {".jpg": bytes(4500), ".json": b"{}"}))
    spool.close()
    left = sorted(path.name for path in tmp_path.glob("*/*"))
    assert left == ["new.jpg", "new.json", *(f"polyp-{n:04d}{s}" for n in (5, 6, 7) for s in (".jpg", ".json"))]
    assert not (tmp_path / "p0").exists()
    status = spool.status()
    assert (status.removed, status.bytes) == (5, sum(path.stat().st_size for path in tmp_path.glob("*/*")))


def test_a_clock_that_was_set_back_does_not_cost_the_newest(tmp_path: Path) -> None:
    """What is there was written "in ten years"; what comes now is newer all the same."""
    ahead = time.time() + 3e8
    fill(first := Spool(tmp_path, 8000), 4)
    first.close()
    for path in tmp_path.glob("*/*"):
        os.utime(path, (ahead, ahead))
    second = Spool(tmp_path, 8000)
    for number in range(4, 12):
        assert second.put(Job("later", f"polyp-{number:04d}", {".jpg": bytes(1000), ".json": b"{}"}))
    second.close()
    assert sorted(path.stem for path in tmp_path.glob("*/*.jpg")) == [f"polyp-{number:04d}" for number in range(5, 12)]


def test_the_bound_holds_at_every_moment_and_the_count_is_true(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 5000)
    fill(spool, 20)
    spool.close()
    there = sum(path.stat().st_size for path in tmp_path.glob("*/*"))
    assert there <= 5000
    assert spool.status().bytes == there
    assert (spool.status().saved, spool.status().dropped) == (20, 0)


def test_one_that_is_larger_than_the_spool_removes_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 5000)
    fill(spool, 2)
    spool.put(Job("p9", "large", {".mkv": bytes(6000)}))
    spool.close()
    assert len(list(tmp_path.glob("*/*"))) == 4
    assert "record.max_mib" in spool.status().fault


def test_what_a_power_cut_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.jpg.new").write_bytes(b"half")
    (tmp_path / "p" / "b.jpg").write_bytes(b"whole")
    spool = Spool(tmp_path, 5000)
    spool.close()
    assert [path.name for path in tmp_path.glob("*/*")] == ["b.jpg"]
    assert spool.status().bytes == 5


def test_a_disk_that_fails_is_a_state_and_comes_back(tmp_path: Path) -> None:
    def full(path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def broken(path: Path) -> None:
        raise CaptureError("no encoder")

    spool = Spool(tmp_path, 5000)
    spool.put(Job("p", "a", {".mkv": full}))
    spool.put(Job("p", "b", {".mkv": broken}))
    spool.close()
    assert (spool.status().dropped, spool.status().fault) == (2, f"{tmp_path}: no encoder")
    assert list(tmp_path.glob("*/*")) == []
    spool = Spool(tmp_path, 5000)
    spool.put(Job("p", "a", {".mkv": full}))
    spool.put(Job("p", "c", {".jpg": b"x"}))
    spool.close()
    assert (spool.status().saved, spool.status().dropped, spool.status().fault) == (1, 1, "")


def test_a_fault_half_way_does_not_spoil_the_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the count is too high by makes room that nobody needs."""
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if target.name == "b.json":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    spool = Spool(tmp_path, 5000)
    for name in "abc":
        spool.put(Job("p", name, {".jpg": bytes(1000), ".json": b"{}"}))
    spool.close()
    assert (spool.status().saved, spool.status().dropped, spool.status().fault) == (2, 1, "")
    assert spool.status().bytes == sum(path.stat().st_size for path in tmp_path.glob("*/*"))
    assert {path.stem for path in tmp_path.glob("*/*.json")} == {"a", "c"}


def test_a_folder_that_cannot_be_read_at_the_start_does_not_end_the_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails for a moment; the thread has to live on."""
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.jpg").write_bytes(b"12345")
    real, faults = Path.glob, [OSError(errno.EIO, os.strerror(errno.EIO))] * 2

    def glob(self: Path, pattern: str) -> Iterator[Path]:
        if faults:
            raise faults.pop()
        return iter(list(real(self, pattern)))

    monkeypatch.setattr(Path, "glob", glob)
    spool = Spool(tmp_path, 5000)
    for name in "bc":
        spool.put(Job("p", name, {".jpg": b"x"}))
    spool.close()
    assert (spool.status().saved, spool.status().dropped, spool.status().fault) == (1, 1, "")
    assert spool.status().bytes == 6


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    spool = Spool(tmp_path / "file", 5000)
    spool.put(Job("p", "a", {".jpg": b"x"}))
    spool.close()
    assert "Not a directory" in spool.status().fault


def test_a_disk_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    let_go = threading.Event()
    spool = Spool(tmp_path, 5000)
    taken = [spool.put(Job("p", f"{number}", {".jpg": lambda path: let_go.wait(30)})) for number in range(100)]
    assert taken.count(False) == spool.status().dropped > 50
    let_go.set()
    spool.close()


# ------------------------------------------------------------------------------------------------ ring


def test_the_ring_forgets_the_oldest() -> None:
    ring = Stills(rate=10, seconds=2)
    assert ring.nearest(0) is None
    for number in range(50):
        ring.keep(still(number * S // 10))
    assert [one.media_ns for one in ring.between(0, 5 * S)] == [number * S // 10 for number in range(29, 50)]
    found = ring.nearest(4 * S + 1)
    assert found is not None
    assert found.media_ns == 4 * S


def test_a_rectangle_needs_no_mask_and_an_octagon_has_its_corners() -> None:
    assert mask_svg(FIELD, (200, 150)) == ""
    octagon = Field(
        x=0, y=0, width=100, height=100, outline=((30, 0), (70, 0), (100, 50), (70, 100), (30, 100), (0, 50))
    )
    assert "M60.00,0.00 L140.00,0.00 L200.00,75.00" in mask_svg(octagon, (200, 150))
