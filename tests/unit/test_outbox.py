"""The outbox alone: order, durability of what was promised, and every way in which its file can be wrong."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import OutboxBrokenError, OutboxFullError
from edge.messages import AlertCleared, Message, ProcedureStarted, SignalChanged
from edge.outbox import MIN_BYTES, Outbox, OutboxReader
from edge.outbox_lock import turn
from edge.types import SignalState
from tests.support.delivery import alert

DEVICE = "box-1"
BYTES = 1 << 20


@contextlib.contextmanager
def writer(path: Path, max_bytes: int = BYTES, notify: Path | None = None) -> Iterator[Outbox]:
    with contextlib.closing(Outbox.open(path, DEVICE, max_bytes, notify)) as outbox:
        yield outbox


@contextlib.contextmanager
def reader(path: Path) -> Iterator[OutboxReader]:
    with contextlib.closing(OutboxReader.open(path)) as outbox:
        yield outbox


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def fill(outbox: Outbox) -> int:
    """Put until it is full; the number of messages that were promised."""
    promised = 0
    while True:
        try:
            promised += len(outbox.put([alert(n) for n in range(50)]))
        except OutboxFullError:
            return promised


# ------------------------------------------------------------------------------------------------ good days


def test_what_put_returns_is_what_waits(path: Path) -> None:
    events = [alert(1), SignalChanged(state=SignalState.LIVE, previous=SignalState.STARTING, captured_ns=2, media_ns=2)]
    with writer(path) as outbox, reader(path) as uplink:
        messages = outbox.put(events)
        rows = uplink.pending(10)
        assert [msgspec.json.decode(row.payload, type=Message) for row in rows] == messages
        assert [(row.seq, row.id) for row in rows] == [(m.seq, m.id) for m in messages]
        assert [m.event for m in messages] == events
        assert messages[0].boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        assert {m.device for m in messages} == {DEVICE}
        oldest = uplink.oldest()
        assert oldest is not None
        assert (str(oldest.wall), oldest.ns) == (messages[0].committed_at, messages[0].committed_ns)


def test_nothing_to_put_touches_nothing(path: Path) -> None:
    with writer(path) as outbox:
        before = path.with_name("outbox.db-wal").read_bytes()
        assert outbox.put([]) == []
        assert path.with_name("outbox.db-wal").read_bytes() == before


def test_alerts_have_their_own_channel(path: Path) -> None:
    events = [
        ProcedureStarted(procedure="p", captured_ns=0, media_ns=0),
        alert(1),
        AlertCleared(kind="polyp", captured_ns=2, media_ns=2),
    ]
    with writer(path) as outbox, reader(path) as uplink:
        outbox.put(events)
        assert [row.seq for row in uplink.pending(10, channel="alert")] == [2, 3]
        assert [row.seq for row in uplink.pending(10, channel="event")] == [1]
        assert [row.seq for row in uplink.pending(1, after_seq=2)] == [3]


def test_seq_is_never_reused(path: Path) -> None:
    with writer(path) as outbox, reader(path) as uplink:
        uplink.delete([m.seq for m in outbox.put([alert(n) for n in range(5)])])
        assert uplink.depth() == 0
        assert uplink.oldest() is None
    with writer(path) as outbox:
        assert outbox.put([alert(9)])[0].seq == 6


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 4), st.sets(st.integers(1, 30), max_size=6), st.just("reopen")), max_size=12))
def test_it_is_a_queue(tmp_path_factory: pytest.TempPathFactory, steps: list[int | set[int] | str]) -> None:
    """Against a model: an int puts so many, a set deletes these seqs, "reopen" ends the process in good order."""
    path = tmp_path_factory.mktemp("model") / "outbox.db"
    model: dict[int, str] = {}
    last = 0
    outbox = Outbox.open(path, DEVICE, BYTES)
    for step in steps:
        with reader(path) as uplink:
            if isinstance(step, int):
                messages = outbox.put([alert(n) for n in range(step)])
                assert [m.seq for m in messages] == list(range(last + 1, last + 1 + step))
                last += step
                model |= {m.seq: m.id for m in messages}
            elif isinstance(step, set):
                uplink.delete(sorted(step))
                model = {seq: id for seq, id in model.items() if seq not in step}
            assert [(row.seq, row.id) for row in uplink.pending(1000)] == sorted(model.items())
            assert uplink.depth() == len(model)
        if step == "reopen":
            outbox.close()
            outbox = Outbox.open(path, DEVICE, BYTES)
    outbox.close()


# ---------------------------------------------------------------------------------------------- the wake-up


def test_a_commit_rings(path: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell, writer(path, notify=tmp_path / "bell") as outbox:
        outbox.put([alert(1)])  # nobody listens yet
        bell.bind(str(tmp_path / "bell"))
        bell.settimeout(5)
        outbox.put([alert(2)])
        assert bell.recv(16)


def test_a_listener_that_sleeps_does_not_block(path: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell, writer(path, notify=tmp_path / "bell") as outbox:
        bell.bind(str(tmp_path / "bell"))
        for n in range(300):  # its queue holds a few dozen datagrams at most
            outbox.put([alert(n)])


# ------------------------------------------------------------------------------------------------- no room


def test_cap_then_room_again(path: Path) -> None:
    with writer(path, MIN_BYTES) as outbox, reader(path) as uplink:
        promised = fill(outbox)
        assert uplink.depth() == promised
        uplink.delete([row.seq for row in uplink.pending(200)])
        assert len(outbox.put([alert(n) for n in range(100)])) == 100
        assert uplink.depth() == promised - 100
        seqs = [row.seq for row in uplink.pending(promised)]
        assert seqs == sorted(set(seqs))
    assert path.stat().st_size <= MIN_BYTES


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small tmpfs here (needs root): {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill_disk(folder: Path) -> Path:
    """Somebody else takes what is left."""
    path = folder / "other"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as other:
        while True:
            other.write(b"x" * 4096)
    return path


def test_full_disk(small_disk: Path) -> None:
    """Its room was taken when it was made: it fills to its cap, empties and fills again, on a disk without a byte."""
    path = small_disk / "outbox.db"
    with writer(path, 2 << 20) as outbox, reader(path) as uplink:
        fill_disk(small_disk)
        for _ in range(3):
            promised = fill(outbox)
            assert promised > 1000
            assert uplink.depth() == promised
            while rows := uplink.pending(100):
                uplink.delete([row.seq for row in rows])


def test_full_disk_without_a_reserve(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A cap above the disk's size is said at once; a full disk then loses nothing promised, and it goes on later."""
    path = small_disk / "outbox.db"
    with writer(path, 64 << 20) as outbox, reader(path) as uplink:
        assert "no room to reserve 67108864 bytes" in caplog.text
        other = fill_disk(small_disk)
        promised = fill(outbox)
        assert uplink.depth() == promised
        other.unlink()
        assert outbox.put([alert(1)])[0].seq == promised + 1
        uplink.delete([row.seq for row in uplink.pending(promised + 1)])
        assert uplink.depth() == 0


def test_full_disk_at_open(small_disk: Path) -> None:
    fill_disk(small_disk)
    with pytest.raises(OutboxFullError, match=r"outbox\.db"):
        Outbox.open(small_disk / "outbox.db", DEVICE, BYTES)


def test_what_the_disk_has_left_is_not_taken_in_vain(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the WAL's reservation would be the room that the mark, or the next page, needs. ext4 gives that half."""

    def half(file: int, offset: int, size: int) -> None:
        os.ftruncate(file, size // 2)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", half)
    with writer(path) as outbox:
        assert path.with_name("outbox.db-wal").stat().st_size < 64 << 10
        outbox.put([alert(1)])
    with reader(path) as uplink:
        assert uplink.depth() == 1


def test_kept_locked(path: Path) -> None:
    with writer(path) as outbox, contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(OutboxFullError, match=r"outbox\.db: another process kept it locked"):
            outbox.put([alert(1)])
        assert time.monotonic() - started < 5
        other.execute("ROLLBACK")
        with turn(path, 1.0), pytest.raises(OutboxFullError, match=r"another process kept it locked for 1 s"):
            outbox.put([alert(1)])
        assert outbox.put([alert(1)])[0].seq == 1


@pytest.mark.parametrize("max_bytes", [MIN_BYTES, 1_000_000, 300 << 20])
def test_all_its_room_is_taken_at_once(path: Path, max_bytes: int) -> None:
    with writer(path, max_bytes):
        assert path.stat().st_size == max_bytes // 4096 * 4096
        assert path.stat().st_blocks * 512 >= path.stat().st_size
        files = [path, *(path.with_name(f"outbox.db-{suffix}") for suffix in ("wal", "shm"))]
        assert {file.stat().st_mode & 0o777 for file in files} == {0o660}


# ------------------------------------------------------------------------------------------ somebody else's


def test_read_only(small_disk: Path) -> None:
    path = small_disk / "outbox.db"
    with writer(path) as outbox:
        outbox.put([alert(1)])
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(OutboxBrokenError, match=r"outbox\.db.*(read-only|cannot be opened)"):
        Outbox.open(path, DEVICE, BYTES)


def test_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(OutboxBrokenError, match=r"max_bytes is 1, must be at least"):
        Outbox.open(tmp_path / "outbox.db", DEVICE, 1)
    with pytest.raises(OutboxBrokenError, match=r"nowhere/outbox\.db: cannot be opened: the folder must exist"):
        Outbox.open(tmp_path / "nowhere" / "outbox.db", DEVICE, BYTES)
    with pytest.raises(OutboxBrokenError, match=r"cannot be read: Is a directory"):
        Outbox.open(tmp_path, DEVICE, BYTES)


def test_other_file_is_left_alone(path: Path) -> None:
    path.write_bytes(b"an endoscopy video, say" * 1000)
    with pytest.raises(OutboxBrokenError, match=r"is some other file"):
        Outbox.open(path, DEVICE, BYTES)
    assert path.read_bytes() == b"an endoscopy video, say" * 1000


def test_other_database_is_left_alone(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE patients (name)")
    before = path.read_bytes()
    for open_it in (lambda: Outbox.open(path, DEVICE, BYTES), lambda: OutboxReader.open(path)):
        with pytest.raises(OutboxBrokenError, match=r"is some other program's database"):
            open_it()
    assert path.read_bytes() == before


def test_other_version_is_left_alone(path: Path) -> None:
    with writer(path) as outbox:
        outbox.put([alert(1)])
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 7")
    before = path.read_bytes()
    for open_it in (lambda: Outbox.open(path, DEVICE, BYTES), lambda: OutboxReader.open(path)):
        with pytest.raises(OutboxBrokenError, match=r"schema 7, this one needs 1"):
            open_it()
    assert path.read_bytes() == before


def test_reader_waits_for_the_writer(path: Path) -> None:
    with pytest.raises(OutboxBrokenError, match=r"not there yet"):
        OutboxReader.open(path)
    assert not path.exists()


def test_creation_was_interrupted(path: Path) -> None:
    """Killed while the file was being built under its other name."""
    path.with_name("outbox.db.new").write_bytes(b"SQLite format 3\0, and half of a page")
    with writer(path) as outbox:
        assert outbox.put([alert(1)])[0].seq == 1


# ------------------------------------------------------------------------------------------------- damaged


def test_damaged_pages(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Back with what can be read, above all old seqs; the damaged file is kept as it was, and named."""
    with writer(path) as outbox:
        ids = {m.id: m.seq for m in outbox.put([alert(n) for n in range(500)])}
    content = bytearray(path.read_bytes())
    middle = content.index(b'"seq":250,') // 4096 * 4096
    content[middle : middle + 8192] = os.urandom(8192)
    path.write_bytes(content)
    with writer(path) as outbox, reader(path) as uplink:
        carried = {row.id: row.seq for row in uplink.pending(1000)}
        assert 400 < len(carried) < 500
        assert carried.items() <= ids.items()
        assert outbox.put([alert(1)])[0].seq > 500
    (aside,) = path.parent.glob("outbox.db.corrupt-*Z")
    assert aside.read_bytes() == content
    assert f"all that waited is in {aside}" in caplog.text
    assert f"carried {len(carried)} messages" in caplog.text
    assert not list(path.parent.glob("*.salvage*"))


@pytest.mark.parametrize("keep", [0, 10, 100, 4096, 20000], ids=lambda n: f"{n}-bytes")
def test_truncated(path: Path, keep: int) -> None:
    with writer(path) as outbox:
        last = outbox.put([alert(n) for n in range(300)])[-1].seq
    os.truncate(path, keep)
    with writer(path) as outbox, reader(path) as uplink:
        assert outbox.put([alert(1)])[0].seq > last
        seqs = [row.seq for row in uplink.pending(1000)]
        assert seqs == sorted(set(seqs))


def test_damaged_twice(path: Path) -> None:
    seqs = []
    for _ in range(3):
        with writer(path) as outbox:
            seqs += [m.seq for m in outbox.put([alert(1), alert(2)])]
        path.write_bytes(b"\xff" * 9000)
    assert seqs == sorted(set(seqs))
    with writer(path):
        assert len(list(path.parent.glob("outbox.db.corrupt-*Z"))) == 3


def test_emptied_while_the_wal_was_full(path: Path) -> None:
    """SQLite itself would delete the WAL of an empty database, and committed messages with it."""
    with writer(path) as outbox:
        outbox.put([alert(n) for n in range(50)])
        wal = path.with_name("outbox.db-wal").read_bytes()
    path.write_bytes(b"")
    path.with_name("outbox.db-wal").write_bytes(wal)
    with writer(path) as outbox:
        assert outbox.put([alert(1)])[0].seq > 50
    (aside,) = path.parent.glob("outbox.db.corrupt-*Z-wal")
    assert aside.read_bytes() == wal


def test_damage_while_open(path: Path) -> None:
    """The reader says so; the writer mends it by opening again; then the reader notices that its file was replaced."""
    with writer(path) as outbox:
        outbox.put([alert(n) for n in range(300)])
    path.write_bytes(path.read_bytes()[:8192] + os.urandom(path.stat().st_size - 8192))
    with reader(path) as uplink:
        with pytest.raises(OutboxBrokenError, match=r"outbox\.db: is damaged"):
            uplink.pending(1000)
        assert not uplink.stale()
        with writer(path) as outbox:
            assert uplink.stale()
            outbox.put([alert(1)])
            with reader(path) as again:
                assert not again.stale()
                assert again.depth() >= 1


def test_removed_while_open(path: Path) -> None:
    """Linux would let us go on writing into a file without a name."""
    with writer(path) as outbox:
        outbox.put([alert(1)])
        path.unlink()
        with pytest.raises(OutboxBrokenError, match=r"was removed or replaced while in use"):
            outbox.put([alert(2)])
    with writer(path) as outbox:
        assert outbox.put([alert(2)])[0].seq > 1


def test_mark_lost(path: Path) -> None:
    with writer(path) as outbox:
        outbox.put([alert(1)])
    path.with_name("outbox.db.mark").write_text("not a number")
    with writer(path) as outbox:
        assert outbox.put([alert(2)])[0].seq == 2
    assert int(path.with_name("outbox.db.mark").read_text()) > 2
