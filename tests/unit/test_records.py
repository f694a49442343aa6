"""The record of a procedure in the spool: with its key frames, whole after any crash, never dropped in silence."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge import spooled
from edge.clock import Wall
from edge.decide.drops import Drops
from edge.decide.moment import Moment
from edge.decide.rules import Rules
from edge.messages import Event
from edge.procedure import Record
from edge.record import records as records_module
from edge.record import room
from edge.record.config import RecordConfig
from edge.record.recorder import Recorder
from edge.record.records import EVERY_NS, Records
from edge.record.spool import NOT_SENT, Job, Spool
from edge.types import Field, Still, View
from tests.support.procedures import MADE, lay
from tests.support.waiting import wait_for
from tests.unit.decide_story import Story, classes, detection
from tests.unit.test_decide_chronicle import TURNING

S = 1_000_000_000
FIELD = Field(x=0, y=0, width=400, height=300, outline=((0, 0), (400, 0), (400, 300), (0, 300)))
ROOM = 2**24


class Ring:
    """The last two seconds, ten a second."""

    now_ns = 0

    def nearest(self, media_ns: int) -> Still | None:
        at = min(max(round(media_ns / (S // 10)), self.now_ns // (S // 10) - 20), self.now_ns // (S // 10)) * (S // 10)
        return Still(captured_ns=at, media_ns=at, jpeg=b"jpeg of %d" % at, width=200, height=150, field=FIELD)

    def newest(self) -> Still | None:
        return self.nearest(self.now_ns)

    def between(self, first_ns: int, last_ns: int) -> Sequence[Still]:
        return []


class Box:
    """Rules, recorder, records and spool, as the core wires them."""

    def __init__(self, folder: Path, **spool: Any) -> None:
        self.spool = Spool(folder, ROOM, **spool)
        self.rules, self.ring = Rules(TURNING, "run"), Ring()
        self.recorder = Recorder(RecordConfig(), "box-1", self.ring, self.spool, lambda stills, path: None)
        self.records = Records(self.rules.chronicle, "box-1", MADE, self.spool)
        self.last = None

    def play(self, story: Story) -> Box:
        for item in story.items:
            self.ring.now_ns = item.media_ns
            events = self.rules.step(item)
            self.recorder.step(item, events, self.rules.best_views())
            self.records.step(item, events)
            self.last = item
        return self

    def end(self) -> None:
        """The stream is over."""
        self.rules.finish(self.last.captured_ns, self.last.media_ns)
        self.close()

    def close(self) -> None:
        self.recorder.finish(self.records.unheard)
        self.records.close()
        self.spool.close()


def read(folder: Path, name: str = "run-1") -> Record:
    record = spooled.read_record(folder / name)
    assert isinstance(record, Record), record
    return record


def shown(folder: Path, record: Record) -> list[bytes]:
    """Its key frames' pictures, by their digests."""
    there = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in (folder / record.procedure).glob("*.jpg")}
    return [there[frame.sha256].read_bytes() for frame in record.key_frames()]


def a_procedure() -> Story:
    story = Story().frames(4).frames(1, detection(), view=View.GOOD).frames(2)
    return story.frames(1, *classes(landmark=("caecum", 0.95))).frames(3)


def test_a_procedure_that_ended_has_its_record_with_its_key_frames(tmp_path: Path) -> None:
    box = Box(tmp_path).play(a_procedure().frames(5, view=View.OUT_OF_BODY))
    box.close()
    record = read(tmp_path)
    assert (record.state, record.revision, record.heading.device) == ("ended", 1, "box-1")
    assert [one.id for one in record.findings] == ["F1"]
    assert len(shown(tmp_path, record)) == 2
    finding = record.findings[0].key_frame
    assert finding is not None
    assert (finding.width, finding.height, finding.box) == (200, 150, (30.0, 30.0, 70.0, 70.0))
    assert finding.at_s == pytest.approx(record.findings[0].best_seen_s, abs=0.06)
    assert finding.size == len(shown(tmp_path, record)[1])
    assert box.spool.status().procedures == 1


def test_while_it_runs_there_is_a_record_too_and_the_next_run_closes_it(tmp_path: Path) -> None:
    """As after kill -9: nothing is closed."""
    box = Box(tmp_path).play(a_procedure())
    wait_for(lambda: (tmp_path / "run-1" / "record.json").exists() and read(tmp_path).landmarks, "it is written")
    before = read(tmp_path)
    assert before.state == "running"
    assert len(shown(tmp_path, before)) == 2
    (tmp_path / "run-1" / "polyp-0001.jpg").write_bytes(b"one more was written before it died")
    Spool(tmp_path, ROOM).close()
    after = read(tmp_path)
    assert (after.state, after.findings[0].id) == ("interrupted", "F1")
    assert shown(tmp_path, after)[1] == b"one more was written before it died"
    assert (
        msgspec.structs.replace(after, state="running", findings=before.findings, landmarks=before.landmarks) == before
    )
    box.spool.close()


def test_it_is_written_every_ten_seconds_and_not_in_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(Spool, "put_record", lambda self, procedure, make: written.append(procedure))
    box = Box(tmp_path).play(Story().frames(35))
    box.close()
    assert len(written) == 1 + 35 * S // EVERY_NS + 1


def test_a_stream_that_ends_or_breaks_within_a_procedure(tmp_path: Path) -> None:
    """A finding that is still in view ends with the stream, and has its best view."""
    story = Story().frames(2).frames(3, detection(score=0.8)).frames(0.5, detection(score=0.95)).frames(1, detection())
    Box(tmp_path / "ended").play(story).end()
    record = read(tmp_path / "ended")
    assert record.state == "ended"
    assert record.findings[0].key_frame is not None
    Box(tmp_path / "broken").play(story).close()
    assert read(tmp_path / "broken").state == "interrupted"


def test_the_best_view_of_what_is_looked_at_for_long_is_not_forgotten(tmp_path: Path) -> None:
    """The ring here has two seconds."""
    story = Story().frames(1).frames(1, detection(score=0.8)).frames(0.4, detection(score=0.97))
    story.frames(20, detection(score=0.7)).frames(3).frames(5, view=View.OUT_OF_BODY)
    Box(tmp_path).play(story).close()
    finding = read(tmp_path).findings[0]
    assert finding.best_seen_s == pytest.approx(2.0, abs=0.05)
    assert finding.key_frame is not None
    assert finding.key_frame.at_s == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("trusted", [True, False])
def test_the_clock_of_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool) -> None:
    """A box that learns the time during a procedure knows when it began; one that knew it does not unlearn it."""
    walls = [Wall(1_000_000.0, trusted)]
    monkeypatch.setattr(records_module.clock, "read", lambda: walls[-1])
    monkeypatch.setattr(records_module.time, "monotonic_ns", lambda: box.ring.now_ns)
    box = Box(tmp_path)
    story = Story().frames(2)
    box.play(story)
    walls.append(Wall(2_000_000.0, True))
    story.items.clear()
    box.play(story.frames(1, detection()).frames(3))
    box.close()
    heading = read(tmp_path).heading
    assert heading.clock_trusted
    began = Wall.parse(heading.started_at, True).at_s
    assert began == pytest.approx(1_000_000 if trusted else 2_000_000 - 3, abs=3)


def test_a_full_disk_delays_a_record_and_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full, real = threading.Event(), Path.write_bytes

    def write_bytes(self: Path, content: Any) -> int:
        if full.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    full.set()
    spool = Spool(tmp_path, ROOM)
    for number in range(100):
        spool.put_record(f"run-{number}", lambda folder: b"{}")
    wait_for(lambda: "No space left" in spool.status().fault, "it is said")
    assert spool.status().waiting == 100
    full.clear()
    wait_for(lambda: not spool.status().waiting, "all are written")
    assert (spool.status().procedures, spool.status().fault) == (100, "")
    spool.close()


# ------------------------------------------------------------------------------------------------ room


def dated(spool: Path, *names: str, **more: Any) -> None:
    """Procedures with two pictures of about 2000 bytes each, each newer than the one before."""
    for number, name in enumerate(names, start=1):
        lay(spool, name, frames=2, **more)
        for path in (spool / name).iterdir():
            os.utime(path, ns=(number * S, number * S))


def left(spool: Path) -> list[str]:
    return sorted(path.parent.name for path in spool.glob(f"*/{spooled.RECORD}"))


def squeeze(folder: Path, most: int, **options: Any) -> Spool:
    spool = Spool(folder, most, **options)
    spool.put(Job("now", "polyp-0001", {".jpg": bytes(1000), ".json": b"{}"}))
    wait_for(lambda: spool.status().saved or spool.status().fault, "it is written")
    return spool


def test_what_the_server_has_goes_first_then_films_then_the_oldest(tmp_path: Path) -> None:
    dated(tmp_path, "a", "b", "c", "d")
    (tmp_path / "d" / "polyp-0001.mkv").write_bytes(bytes(3000))
    spooled.mark_sent(tmp_path / "c", 1)
    order = [(piece.folder.name, piece.rank) for piece in room.pieces(tmp_path, ("", ""))]
    assert order == [("c", 0), ("d", 1), ("a", 2), ("b", 2), ("d", 2)]
    all_bytes = sum(map(room.size, tmp_path.glob("*/*")))
    spool = squeeze(tmp_path, all_bytes)
    assert left(tmp_path) == ["a", "b", "d"]
    assert (tmp_path / "d" / "polyp-0001.mkv").exists()
    assert spool.tombs() == {}
    spool.close()


def test_one_that_is_not_sent_goes_whole_and_leaves_word_until_it_is_told(tmp_path: Path) -> None:
    dated(tmp_path, "a", "b")
    one = sum(map(room.size, (tmp_path / "a").iterdir()))
    spool = squeeze(tmp_path, 2 * one + 500, owed=True)
    assert spool.tombs() == {"a": NOT_SENT}
    assert [path.name for path in (tmp_path / "a").iterdir()] == [spooled.DROPPED]
    assert spool.status().bytes == sum(map(room.size, tmp_path.glob("*/*")))
    spool.close()
    again = Spool(tmp_path, 2**20, owed=True)  # it died before the event was committed: said once more
    wait_for(lambda: again.tombs() == {"a": NOT_SENT}, "it is found again")
    again.bury("a")
    wait_for(lambda: not again.tombs(), "it is buried")
    assert not (tmp_path / "a").exists()
    again.close()
    assert again.status().bytes == sum(map(room.size, tmp_path.glob("*/*")))


def test_without_a_report_server_nobody_is_told(tmp_path: Path) -> None:
    dated(tmp_path, "a", "b")
    one = sum(map(room.size, (tmp_path / "a").iterdir()))
    spool = squeeze(tmp_path, 2 * one + 500)
    assert (left(tmp_path), spool.tombs()) == (["b"], {})
    assert not (tmp_path / "a").exists()
    spool.close()


def test_the_one_that_runs_is_not_touched(tmp_path: Path) -> None:
    dated(tmp_path, "a")
    spool = Spool(tmp_path, 2**20, owed=True)
    wait_for(lambda: spool._closed_others, "it has looked")
    dated(tmp_path, "z", state="running")
    assert [piece.folder.name for piece in room.pieces(tmp_path, ("", ""))] == ["a"]
    spool.close()


def test_what_the_server_has_goes_when_newer_ones_are_there_too(tmp_path: Path) -> None:
    dated(tmp_path, "a", "b", "c", "d")
    for name in "abcd":
        spooled.mark_sent(tmp_path / name, 1)
    spool = Spool(tmp_path, ROOM, owed=True, keep_sent=2)
    spool.put_record("e", lambda folder: b"{}")
    spool.close()
    assert left(tmp_path) == ["c", "d", "e"]
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("died_after", range(5))
def test_a_removal_that_ends_half_way_is_no_record_to_send(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, died_after: int
) -> None:
    """At no moment is there a record without its pictures that an uplink would take for one to be sent."""
    dated(tmp_path, "sent", "owed")
    spooled.mark_sent(tmp_path / "sent", 1)
    count, real = 0, Path.unlink

    def unlink(self: Path, missing_ok: bool = False) -> None:
        nonlocal count
        if count == died_after:
            raise KeyboardInterrupt
        count += 1
        real(self, missing_ok)

    pieces = room.pieces(tmp_path, ("", ""))
    monkeypatch.setattr(Path, "unlink", unlink)
    for piece in pieces:
        count = 0
        with pytest.raises(KeyboardInterrupt):
            room.remove(piece, NOT_SENT)
        sendable = not spooled.is_sent(piece.folder) and not (piece.folder / spooled.DROPPED).exists()
        assert not sendable


def test_a_loss_is_told_once_in_a_run() -> None:
    drops = Drops()
    drops.news = {"a": "full"}
    events: list[Event] = [*drops.step(Moment(5, 6))]
    assert [(e.procedure, e.reason, e.media_ns, e.captured_ns) for e in events] == [("a", "full", 5, 6)]
    drops.news = {"a": "full", "b": "full"}
    assert [event.procedure for event in drops.step(Moment(7, 8))] == ["b"]
    assert drops.step(Moment(9, 9)) == []
