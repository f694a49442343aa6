"""The audit log: a chain that shows what was done to it, on a disk that may be full or cut off."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import audit
from edge.audit import Audit, files, verify
from edge.errors import AuditError
from tests.support.command import endoedge
from tests.support.console import HandClock


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Audit]:
    opened = Audit(tmp_path, HandClock(), file_bytes=2000, keep=4)
    yield opened
    opened.close()


def write(log: Audit, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        log.note("A. Engineer", f"log {number}", "done")


def test_a_chain_over_several_files_holds(log: Audit, tmp_path: Path) -> None:
    write(log, 8)
    assert len(files(tmp_path)) > 1
    assert verify(tmp_path).startswith("8 lines hold, 1 to 8, head ")
    assert log.head is not None
    assert log.head.digest in verify(tmp_path)


def test_the_oldest_files_go_and_the_rest_still_holds(log: Audit, tmp_path: Path) -> None:
    write(log, 100)
    assert len(files(tmp_path)) == 4
    assert ", 100 to" not in verify(tmp_path)
    assert "to 100, head" in verify(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        (lambda lines: [lines[0].replace(b"log 0", b"log 9"), *lines[1:]], "line 2"),
        (lambda lines: [lines[0], lines[2]], "line 2"),
        (lambda lines: [lines[0], lines[0], *lines[1:]], "line 2"),
        (lambda lines: [lines[1], lines[0], lines[2]], "line 2"),
        (lambda lines: [lines[0], b"x" + lines[1], lines[2]], "line 2"),
        (lambda lines: [lines[0], lines[1], lines[2][:50]], "line 3"),
    ],
    ids=["changed", "removed", "repeated", "swapped", "spoilt", "cut"],
)
def test_the_first_broken_line_is_named(tmp_path: Path, spoil: object, names: str) -> None:
    log = Audit(tmp_path, HandClock())
    write(log, 3)
    log.close()
    (path,) = files(tmp_path)
    path.write_bytes(b"\n".join(spoil(path.read_bytes().splitlines())) + b"\n")  # type: ignore[operator]
    with pytest.raises(AuditError, match=names):
        verify(tmp_path)


def test_a_missing_file_is_a_broken_chain(log: Audit, tmp_path: Path) -> None:
    write(log, 20)
    files(tmp_path)[1].unlink()
    with pytest.raises(AuditError, match="line 1: has sequence number"):
        verify(tmp_path)


def test_a_restart_goes_on(tmp_path: Path) -> None:
    for start in range(0, 12, 3):
        log = Audit(tmp_path, HandClock(boot=f"boot-{start}"), file_bytes=2000)
        write(log, 3, start)
        log.close()
    assert verify(tmp_path).startswith("12 lines hold")


@pytest.mark.parametrize("left", [b"", b'{"seq":4,"bo', b"\0" * 30])
def test_half_a_line_after_a_power_cut_is_cut_off_and_counted(tmp_path: Path, left: bytes) -> None:
    log = Audit(tmp_path, HandClock())
    write(log, 3)
    log.close()
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes() + left)
    log = Audit(tmp_path, HandClock())
    write(log, 1)
    log.close()
    assert verify(tmp_path).startswith("4 lines hold")
    assert path.read_bytes().splitlines()[-1].count(b'"unlisted":1' if left else b'"unlisted":0') == 1


def test_a_tampered_newest_line_does_not_hide(tmp_path: Path) -> None:
    """The log goes on after it, and the place is named for ever."""
    log = Audit(tmp_path, HandClock())
    write(log, 3)
    log.close()
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"log 1", b"log 7"))
    log = Audit(tmp_path, HandClock())
    write(log, 3)
    log.close()
    with pytest.raises(AuditError, match="line 3: does not follow"):
        verify(tmp_path)


def test_a_full_disk_writes_nothing_and_is_used_again_when_there_is_room(tmp_path: Path) -> None:
    """A real EFBIG: the kernel lets no file grow beyond this process's limit."""
    log = Audit(tmp_path, HandClock())
    write(log, 3)
    (path,) = files(tmp_path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from edge.audit import Audit; from edge.errors import AuditError\n"
        "from tests.support.console import HandClock\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 100}, {limits[1]}))\n"
        f"log = Audit(Path({str(tmp_path)!r}), HandClock())\n"
        "for _ in range(2):\n"
        "    try: log.note('A', 'log', 'done')\n"
        "    except AuditError as exc: print(exc)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, {limits})\n"
        "log.note('A', 'log', 'done')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.splitlines() == [f"audit log {tmp_path}: no space left for a whole line"] * 2
    assert path.read_bytes().startswith(before)
    assert verify(tmp_path).startswith("4 lines hold")


def test_open_commands_cannot_wash_the_others_away(tmp_path: Path) -> None:
    clock = HandClock()
    log = Audit(tmp_path, clock)
    for _ in range(1000):
        log.note_open("status", "done")
    log.note("A. Engineer", "log", "done")
    log.close()
    lines = files(tmp_path)[0].read_bytes().splitlines()
    assert len(lines) == audit.OPEN_A_MINUTE + 1
    assert f'"unlisted":{1000 - audit.OPEN_A_MINUTE}'.encode() in lines[-1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(AuditError, match="Permission denied"):
        Audit(tmp_path / "state", HandClock()).note("A", "log", "done")


def test_the_command_verifies(tmp_path: Path) -> None:
    log = Audit(tmp_path / "state", HandClock())
    write(log, 3)
    log.close()
    done = endoedge("console", "--verify-audit", tmp_path / "state")
    assert (done.returncode, done.stdout[:14]) == (0, "3 lines hold, ")
    (path,) = files(tmp_path / "state")
    path.write_bytes(path.read_bytes().replace(b"log 1", b"log 7"))
    done = endoedge("console", "--verify-audit", path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"endoedge console: {path}: line 3: does not follow from the line before it")


def test_strange_words_stay_one_line_of_ascii(tmp_path: Path) -> None:
    log = Audit(tmp_path, HandClock())
    log.note("A\nB", "log \x1b[2J\r\n" + "x" * 5000, "é")
    log.close()
    assert verify(tmp_path).startswith("1 lines hold")
    assert files(tmp_path)[0].read_bytes().isascii()


def test_a_line_that_failed_and_could_not_be_cut_off_is_cut_off_later(
    log: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes half a line and then nothing any more, not even the cut."""

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    write(log, 2)
    real = os.write
    with monkeypatch.context() as failing:
        failing.setattr(os, "write", lambda file, line: real(file, line[:40]))
        failing.setattr(os, "ftruncate", fails)
        for _ in range(2):
            with pytest.raises(AuditError):
                log.note("A. Engineer", "log 2", "done")
    write(log, 1, start=3)
    assert verify(tmp_path).startswith("3 lines hold, 1 to 3, head ")
