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
from edge.messages import Event, ViewChanged
from edge.procedure import Record
from edge.record import records as records_module
from edge.record import room
from edge.record.config import RecordConfig
from edge.record.outside import Outside
from edge.record.recorder import Recorder
from edge.record.records import EVERY_NS, Records
from edge.record.shown import Shown, with_key_frames
from edge.record.spool import NOT_SENT, Job, Spool
from edge.types import Field, Findings, Gap, SignalState, Still, View
from tests.support.procedures import MADE, lay, record
from tests.support.waiting import wait_for
from tests.unit.decide_story import Story, classes, detection, quality
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


def test_a_finding_without_a_picture_says_so_until_it_has_one(tmp_path: Path) -> None:
    """A disk that was full, a queue that was: what a report cannot show it has to name."""
    folder = tmp_path / "run-1"
    whole = lay(tmp_path, "run-1", frames=2)
    made = record("run-1", whole, not_recorded={"size": "never"})
    for path in folder.glob("polyp-0001.*"):
        path.unlink()
    (folder / "landmark-caecum.json").write_bytes(shown_json("caecum"))
    said = with_key_frames(made, folder, lambda one: 1.0)
    assert said.not_recorded == {"size": "never", "key frame of F1": "none was kept"}
    (folder / "polyp-0001.jpg").write_bytes(b"jpeg")
    (folder / "polyp-0001.json").write_bytes(shown_json("polyp"))
    assert with_key_frames(said, folder, lambda one: 1.0).not_recorded == {"size": "never"}


def shown_json(kind: str) -> bytes:
    return msgspec.json.encode(
        Shown(
            device="box-1", procedure="run-1", kind=kind, track=0, score=0.9, captured_ns=1, media_ns=1, width=4,
            height=3, box=None, source_box=None, field=FIELD,
        )
    )  # fmt: skip


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


# ------------------------------------------------------------------------------------------------ privacy


def test_nothing_is_kept_of_what_was_seen_outside_the_body(tmp_path: Path) -> None:
    """A clip of ten seconds around a finding that was seen for one, right after the endoscope came in, and before it
    was pulled out; with a frame of the room that looks like the inside."""
    films: dict[str, list[int]] = {}

    class Full(Ring):
        def between(self, first_ns: int, last_ns: int) -> Sequence[Still]:
            tenth = S // 10
            wanted = range(-(-first_ns // tenth), min(last_ns, self.now_ns) // tenth + 1)
            return [still for n in wanted if n >= 0 and (still := self.nearest(n * tenth))]

        def nearest(self, media_ns: int) -> Still | None:
            at = media_ns // (S // 10) * (S // 10)
            return Still(captured_ns=at, media_ns=at, jpeg=b"jpeg of %d" % at, width=200, height=150, field=FIELD)

    def mux(stills: Sequence[Still], path: Path) -> None:
        films[path.name.partition(".")[0]] = [still.media_ns for still in stills]
        path.write_bytes(b"film")

    box = Box(tmp_path)
    box.ring = Full()
    config = RecordConfig(clips=True, before_s=5.0, after_s=5.0)
    box.recorder = Recorder(config, "box-1", box.ring, box.spool, mux)
    story = Story().frames(1.0, view=View.OUT_OF_BODY).frame().frames(2.0, view=View.OUT_OF_BODY)
    came_ns = story.media_ns
    story.frames(1.0).frames(1.0, detection()).frames(0.5)
    gone_ns = story.media_ns
    story.frames(0.4, view=View.OUT_OF_BODY).frame().frames(6.0, view=View.OUT_OF_BODY)
    box.play(story).close()
    (film,) = films.values()
    assert len(film) > 20
    assert all(came_ns <= ns < gone_ns for ns in film), (came_ns, gone_ns, film)
    (finding,) = read(tmp_path).findings
    assert finding.key_frame is not None


def test_a_picture_between_a_frame_from_inside_and_one_from_outside_is_nobodys() -> None:
    outside = Outside()

    def see(ns: int, view: View | None, *events: Event) -> None:
        seen = Findings(seq=0, captured_ns=ns, media_ns=ns, quality=quality(view) if view else None)
        outside.step(seen, events)

    see(10, View.OUT_OF_BODY)
    assert 5 in outside
    see(20, View.GOOD)
    assert [ns in outside for ns in (5, 15, 20, 25)] == [True, True, False, False]
    see(30, View.POOR)
    see(40, View.OUT_OF_BODY)
    assert [ns in outside for ns in (25, 30, 31, 40, 99)] == [False, False, True, True, True]
    outside.step(Gap(captured_ns=50, media_ns=50, state=SignalState.NO_SIGNAL), ())
    see(60, View.GOOD)
    assert [ns in outside for ns in (31, 59, 60)] == [True, True, False]
    see(70, View.GOOD, ViewChanged(view=View.OUT_OF_BODY, previous=View.GOOD, captured_ns=70, media_ns=70))
    assert [ns in outside for ns in (60, 65)] == [False, True]  # believed to be outside, whatever this one looks like
    see(80, View.GOOD, ViewChanged(view=View.GOOD, previous=View.OUT_OF_BODY, captured_ns=80, media_ns=80))
    assert [ns in outside for ns in (75, 85)] == [True, False]
    see(90, None)  # a pipeline that does not judge the view: what is seen counts
    assert 90 not in outside


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("where", ["procedure", "T1", "L1", "F1", "sha256"])
def test_a_line_end_is_no_end(tmp_path: Path, where: str) -> None:
    """JSON Schema's `$` does not match before one; Python's does."""
    text = msgspec.json.encode(record("run-1", [b"a", b"b"]))
    word = next(record("run-1", [b"a"]).key_frames()).sha256 if where == "sha256" else where
    word = "run-1" if where == "procedure" else word
    broken = text.replace(b'"%s"' % word.encode(), b'"%s\\n"' % word.encode(), 1)
    assert broken != text
    with pytest.raises(msgspec.ValidationError, match="ends with a line end"):
        msgspec.json.decode(broken, type=Record)
    (tmp_path / "run-1").mkdir()
    (tmp_path / "run-1" / spooled.RECORD).write_bytes(broken)
    assert "ends with a line end" in str(spooled.read_record(tmp_path / "run-1"))


def test_a_later_form_is_not_guessed(tmp_path: Path) -> None:
    """After a step back to an earlier version of the software: it stays where it is, and the uplink says why."""
    (tmp_path / "run-1").mkdir()
    (tmp_path / "run-1" / spooled.RECORD).write_bytes(msgspec.json.encode(record("run-1", version=2)))
    assert spooled.read_record(tmp_path / "run-1") == "record.json: is of version 2, expected 1"


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
