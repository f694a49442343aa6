"""Which slot runs: whatever happens in whatever order, and killed at every write."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge.update import slot
from edge.update.slot import SLOTS, STARTS, Boot, RefusedError

PROGRAM = Path(slot.__file__)


class Box(RuleBasedStateMachine):
    """A box to which everything happens: installations, switches, power cuts, releases that hold or do not."""

    def __init__(self) -> None:
        super().__init__()
        self.boot, self.running = Boot(), "F"
        self.whole = {"F": True, "A": False, "B": False}  # is there a release in it
        self.starts = 0  # of the one on trial

    @precondition(lambda self: not self.boot.trial)
    @rule(cut=st.booleans(), name=st.sampled_from(SLOTS))
    def installed(self, cut: bool, name: str) -> None:
        """As RAUC does it. It never writes the slot that runs."""
        if (target := name) == self.running:
            return
        self.boot = slot.mark(self.boot, target, "bad")
        self.whole[target] = not cut
        if not cut:
            self.boot, self.starts = slot.try_out(self.boot, target), 0

    @rule()
    def started(self) -> None:
        self.boot, self.running = slot.start(self.boot)
        self.starts += self.running == self.boot.trial
        assert self.whole[self.running]

    @precondition(lambda self: self.boot.trial == self.running)
    @rule()
    def held(self) -> None:
        self.boot = slot.hold(self.boot)
        assert self.boot.primary == self.running

    @precondition(lambda self: self.boot.trial)
    @rule()
    def did_not_hold(self) -> None:
        tried, before = self.boot.trial, slot.start(self.boot._replace(trial=""))[1]
        self.boot = slot.back(self.boot, "it is slow")
        assert tried not in self.boot.good
        self.boot, self.running = slot.start(self.boot)
        assert self.running == before

    @rule(name=st.sampled_from(SLOTS))
    def an_image_went_bad(self, name: str) -> None:
        """Found out when it is to be started."""
        if slot.start(self.boot)[1] == name:
            self.boot = slot.spoil(slot.start(self.boot)[0], name, "one byte differs")
            assert name not in self.boot.good
            assert self.boot.trial != name
            self.boot, self.running = slot.start(self.boot)
            assert self.running != name

    @invariant()
    def the_primary_is_good_and_trials_end(self) -> None:
        assert slot.start(self.boot._replace(trial=""))[1] in {*self.boot.good, "F"}
        assert self.starts <= STARTS
        assert all(self.whole[one] for one in self.boot.good)


TestBox = Box.TestCase


def test_three_starts_and_back() -> None:
    boot = slot.try_out(slot.mark(Boot("A", frozenset("A")), "B", "bad"), "B")
    for _ in range(STARTS):
        boot, started = slot.start(boot)
        assert started == "B"
    boot, started = slot.start(boot)
    assert (started, boot.trial, boot.good) == ("A", "", {"A"})
    assert boot.why == "it was started 3 times and did not hold"


def test_a_primary_that_went_bad_leaves_the_other() -> None:
    both = Boot("A", good=frozenset(SLOTS))
    assert slot.start(slot.mark(both, "A", "bad"))[1] == "B"
    boot, started = slot.start(Boot("A", good=frozenset()))
    assert (boot.primary, started) == ("F", "F")
    assert slot.start(Boot())[1] == "F"


def test_without_a_trial_there_is_nothing_to_end() -> None:
    for end in (slot.hold, lambda boot: slot.back(boot, "x")):
        with pytest.raises(RefusedError):
            end(Boot())


def test_what_was_never_started_does_not_hold() -> None:
    boot = slot.try_out(Boot(), "A")
    with pytest.raises(RefusedError):
        slot.hold(boot)
    with pytest.raises(RefusedError):
        slot.mark(boot, "A", "good")
    assert slot.hold(slot.start(boot)[0]) == Boot("A", frozenset("A"), trials=1)


def test_why_is_kept_until_the_next_trial() -> None:
    boot = slot.back(slot.try_out(Boot(), "A"), "slow")
    assert slot.mark(boot, "A", "bad").why == "slow"  # RAUC writes it anew
    assert slot.start(boot)[0].why == "slow"
    assert slot.try_out(boot, "A").why == ""


def call(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As RAUC and systemd do: with the system's Python, without anything of ours on its path."""
    command = ["/usr/bin/python3", "-EsB", str(PROGRAM), *arguments]
    environment = {"ENDOEDGE_BOOT": str(file), "PATH": os.environ["PATH"]}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_as_rauc_speaks_to_it(tmp_path: Path) -> None:
    file = tmp_path / "state" / "boot.json"
    assert call(file, "get-primary").stdout == "F\n"
    assert call(file, "get-state", "B").stdout == "bad\n"
    assert not file.exists()
    assert call(file, "set-state", "B", "bad").returncode == 0
    assert call(file, "set-primary", "B").returncode == 0
    assert call(file, "get-primary").stdout == "B\n"
    assert call(file, "start").stdout == "B\n"
    assert call(file, "hold").returncode == 0
    assert call(file, "get-state", "B").stdout == "good\n"
    assert call(file, "get-primary").stdout == "B\n"
    said = {"primary": "B", "good": ["B"], "trial": "", "left": 0, "why": "", "trials": 1}
    assert json.loads(file.read_text()) == said
    assert (done := call(file, "back", "slow")).returncode == 1
    assert done.stderr == "slot: nothing is on trial\n"
    for wrong in ([], ["start", "B"], ["set-primary", "C"], ["set-state", "A", "fine"], ["back"]):
        assert (done := call(file, *wrong)).returncode == 2
        assert "slot start" in done.stderr
    assert call(file, "set-state", "B", "bad").returncode == 0
    assert call(file, "start").stdout == "F\n"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"primary": "C", "good": [], "trial": "", "left": 0, "why": ""}',
        '{"primary": "A", "good": ["A"], "trial": "A", "left": 1, "why": ""}',
        '{"primary": "A", "good": ["A"], "trial": "B", "left": 99, "why": ""}',
        '{"primary": "A", "good": 7, "trial": "", "left": 0, "why": ""}',
        '{"primary": "A", "good": ["A"], "trial": "", "left": 0, "why": 3}',
        '{"primary": "A", "good": ["A"], "trial": "", "left": true, "why": ""}',
        '{"primary": "A", "good": ["A"], "more": 1}',
        "[" * 100_000,
    ],
)
def test_a_file_that_says_nothing_is_said_and_a_box_starts(content: str, tmp_path: Path) -> None:
    file = tmp_path / "boot.json"
    file.write_text(content)
    done = call(file, "start")
    assert (done.returncode, done.stdout) == (0, "F\n")
    assert f"slot: {file}: " in done.stderr


def test_a_disk_that_takes_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = call(tmp_path / "file" / "boot.json", "set-primary", "B")
    assert done.returncode == 1
    assert done.stderr.startswith("slot: ")


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import slot
name, calls = sys.argv[2], int(sys.argv[3])
real = getattr(os, name)
def die(*arguments, **named):
    global calls
    calls -= 1
    if calls < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **named)
setattr(os, name, die)
slot.write(slot.FILE, slot.try_out(slot.read(slot.FILE), "B"))
"""


@pytest.mark.parametrize(("name", "calls"), [("fdopen", 0), ("fsync", 0), ("replace", 0), ("fsync", 1), ("open", 1)])
def test_killed_at_each_step_it_is_the_old_state_or_the_new_one(name: str, calls: int, tmp_path: Path) -> None:
    file = tmp_path / "boot.json"
    old = Boot(primary="A", good=frozenset(SLOTS), why="the last one was slow")
    slot.write(file, old)
    command = [sys.executable, "-c", KILLED, str(PROGRAM.parent), name, str(calls)]
    done = subprocess.run(command, env=os.environ | {"ENDOEDGE_BOOT": str(file)}, check=False)
    assert done.returncode in (-signal.SIGKILL, 0)
    assert slot.read(file) in (old, slot.try_out(old, "B"))


@pytest.mark.parametrize("starts", [1, 2, STARTS])
def test_a_self_test_ends_no_trial_not_even_in_its_last_start(
    starts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = list[tuple[str, ...]]()
    monkeypatch.setattr(slot, "FILE", tmp_path / "boot.json")
    monkeypatch.setattr(slot, "RUN", tmp_path)
    monkeypatch.setattr(slot, "ORDERS", tmp_path / "orders")
    monkeypatch.setattr(slot, "_systemctl", lambda *words: done.append(words) or 0)
    boot = slot.try_out(Boot(primary="B", good=frozenset("B")), "A")
    for _ in range(starts):
        boot, booted = slot.start(boot)
    slot.write(slot.FILE, boot)
    (tmp_path / "booted").write_text(f"{booted}\n")
    slot.ORDERS.mkdir()
    (slot.ORDERS / "selftest").touch()
    assert slot.switch() == 0
    assert done == [("start", "--no-block", slot.SELFTEST)]
    slot.write(slot.FILE, slot.back(boot, "it was slow"))
    assert slot.switch() == 0
    assert ("restart", slot.SLOT) in done
