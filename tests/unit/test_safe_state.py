"""The stand-in for a core that breaks again and again: what it says, how it ends; and what the core leaves for it."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from edge import status
from edge.cli import safe
from edge.errors import CaptureError
from edge.status import EVERY_NS, SAFE_FRESH_NS, SafeStatus, safe_reason
from tests.support.waiting import wait_for

SITE = """device = "box"
pipeline = "colonoscopy"
run_dir = "run"
[capture]
source = "test"
[uplink]
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    file = tmp_path / "endoedge.toml"
    file.write_text(SITE)
    return file


@pytest.mark.parametrize(
    ("end", "words", "reason"),
    [
        ("watchdog dumped ABRT", "", "it hung"),
        ("watchdog dumped ABRT", "no frame was analysed for 11 s", "it hung: no frame was analysed for 11 s"),
        ("exit-code exited 1", "/dev/video0: is busy", "it ended with code 1: /dev/video0: is busy"),
        ("signal killed KILL", "", "it was killed (SIGKILL)"),
        ("core-dump dumped SEGV", "", "it crashed (SIGSEGV)"),
        ("oom-kill killed KILL", "", "it took more memory than it may"),
        ("success exited 0", "", "it ended by itself"),
        ("exec-condition exited 1", "", "systemd says exec-condition"),
        ("", "no such thing", "no such thing"),
        ("half a", "", "it ended again and again"),
    ],
)
def test_why(tmp_path: Path, end: str, words: str, reason: str) -> None:
    for name, text in ((safe.END, f"{end}\n"), (safe.WORDS, words)):
        (tmp_path / name).write_text(text)
    assert safe.why(tmp_path) == reason


def test_nothing_is_known(tmp_path: Path) -> None:
    assert safe.why(tmp_path) == "it ended again and again"


def test_the_core_leaves_its_last_words_and_those_of_the_run_before_go(tmp_path: Path) -> None:
    with pytest.raises(CaptureError), safe.last_words(tmp_path):
        raise CaptureError("/dev/video0: is busy")
    assert safe.why(tmp_path) == "/dev/video0: is busy"
    with safe.last_words(tmp_path):
        assert safe.why(tmp_path) == "it ended again and again"


def test_the_last_words_name_no_recording(tmp_path: Path) -> None:
    with pytest.raises(CaptureError), safe.last_words(tmp_path, {"DOE.mp4", "/clips/DOE.mp4"}):
        raise CaptureError("/clips/DOE.mp4: cannot be read: No such file or directory")
    assert safe.why(tmp_path) == "...: cannot be read: No such file or directory"


def test_it_says_why_and_ends_with_try_again(site: Path) -> None:
    run_dir = site.parent / "run"
    (run_dir / safe.END).write_text("watchdog dumped ABRT")
    (run_dir / "status.json").write_text("{}")  # of a core that is no more
    seen: list[str] = []
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(safe.run(site, 1.5, threading.Event())))
    thread.start()
    wait_for(lambda: seen.append(safe_reason(run_dir / "safe.json")) or seen[-1], "the safe state is said")
    thread.join()
    assert seen[-1] == "the core is not started: it hung"
    assert codes == [safe.AGAIN]
    assert not list(run_dir.glob("s*.json"))


def test_who_stops_it_does_not_want_the_core(site: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert safe.run(site, 60, stop) == 0


def test_a_broken_configuration_is_the_reason(
    site: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site.write_text(SITE.replace("device", "devise"))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(site.parent / "run"))
    assert safe.run(site, 0.01, threading.Event()) == safe.AGAIN
    assert "unknown key devise" in caplog.text


def test_a_stale_word_is_none(tmp_path: Path) -> None:
    path, now_ns = tmp_path / "safe.json", time.monotonic_ns()
    said = SafeStatus(reason="hung", since_ns=0, until_ns=now_ns, updated_ns=now_ns)
    status.write(path, said)
    assert safe_reason(path) == "hung"
    assert json.loads(path.read_text())["updated_ns"] == now_ns
    status.write(path, SafeStatus(reason="hung", since_ns=0, until_ns=0, updated_ns=now_ns - SAFE_FRESH_NS - EVERY_NS))
    assert safe_reason(path) == ""
    path.write_text("{")
    assert safe_reason(path) == ""
