"""Power cuts while a box goes from release to release: QEMU is killed (SIGKILL), and started again on the same disk.

What the guest had not yet given to its disk is lost with it. Before each cut but those in a boot the box has said what
runs; that has to be a whole release: of the bytes that were signed, or what was installed first.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edge import __version__
from tools.twin import publisher
from tools.twin.machine import Machine
from tools.twin.scenarios import Scenario
from tools.twin.session import BOOT_LIMIT_S, Result, Watcher
from tools.twin.words import Runs, Step

if TYPE_CHECKING:
    from tools.twin.ota import Place

FILLING_MIB = 8  # that a release takes some time to come and to be written
# Of the host:
HOLDS_WITHIN_S = 3600.0  # from its first word on
RIPE_S = 100.0  # an update takes about as long, emulated
LATE_S = 6 * RIPE_S
BOOT, SEEN, IDLE = "boot", "seen", "idle"
STATES = ("offered", "downloading", "fetched", "installing", "installed", "switching", "trying")
_IN_A_STATE, _IN_THE_BOOT = 0.6, 0.2  # shares of the cuts; the rest comes at any time after a release was seen to run


class Cut(NamedTuple):
    """`after_s` of `when`: a state's begin, "boot" for the power, "seen" for the first word of what runs."""

    when: str
    after_s: float


class Cuts:
    """What is still to come, always the same of one seed. No two in a boot follow each other: between them the box has
    said what runs."""

    def __init__(self, times: int, seed: int) -> None:
        self.left = times
        self._random, self._last = random.Random(seed), ""

    def next(self) -> Cut | None:
        if not self.left:
            return None
        self.left -= 1
        share, again = self._random.random(), self._last == BOOT
        if share < _IN_A_STATE:
            cut = Cut(self._random.choice(STATES), self._random.uniform(0, 3))
        elif share < _IN_A_STATE + _IN_THE_BOOT and not again:
            cut = Cut(BOOT, self._random.uniform(5, 120))
        else:
            cut = Cut(SEEN, self._random.uniform(0, RIPE_S))
        self._last = cut.when
        return cut


class Boot:
    """What is seen of one, in the host's seconds. `wrong`: why what runs is no whole release."""

    def __init__(self, cut: Cut | None, signed: dict[str, str]) -> None:
        self._cut, self._signed = cut, signed
        self.began_s = self.since_s = self.seen_s = time.monotonic()
        self.until_s = self.began_s + cut.after_s if cut and cut.when == BOOT else 0.0  # then the power goes
        self.silent_s = self.began_s + BOOT_LIMIT_S  # then it has said nothing for too long
        self.state, self.ran, self.wrong = BOOT, "", ""

    def take(self, word: Runs, now_s: float) -> None:
        if word.version:
            self._judge(word, now_s)
        if self.ran and word.state != self.state:
            before, self.state, self.since_s = self.state, word.state, now_s
            late = now_s - self.seen_s > LATE_S  # that state will not come
            if self._cut and not self.until_s and (late or _reached(self._cut.when, before, word.state)):
                self.until_s = now_s + self._cut.after_s

    def _judge(self, word: Runs, now_s: float) -> None:
        right = word.version == __version__ if word.booted == "F" else self._signed.get(word.version) == word.sha256
        if not right:
            self.wrong = f"{word.version} runs from {word.booted}, its image has the sha256 {word.sha256 or 'of none'}"
        if not self.ran:
            self.seen_s = now_s
            self.silent_s = now_s + HOLDS_WITHIN_S
            if self._cut and self._cut.when == SEEN:
                self.until_s = now_s + self._cut.after_s
        self.ran = word.version


def _reached(wanted: str, before: str, now: str) -> bool:
    """That state; or a later one, when it was too short to be seen. What a boot begins with came before it."""
    if wanted not in STATES or now not in STATES or before == BOOT:
        return wanted == now
    rank = STATES.index(before) if before in STATES else -1
    return wanted == now or rank < STATES.index(wanted) < STATES.index(now)


class _Run:
    """Owner: one thread."""

    def __init__(self, place: Place, name: str, folder: Path, watcher: Watcher, kvm: bool, cuts: Cuts) -> None:
        self._place, self._name, self._folder, self._watcher, self._kvm = place, name, folder, watcher, kvm
        self._cuts, self._releases = cuts, place.releases
        self._began_s = time.monotonic()
        self.boots, self.by_state, self.ran = 0, Counter[str](), list[str]()

    def play(self) -> str:
        """Until all cuts are made and the newest release holds. Why not, or ""."""
        while True:
            cut = self._cuts.next()
            self.boots += 1
            console = self._folder / f"console-{self.boots}.txt"
            place = self._place
            with Machine(place.image, place.checkout, [self._name], console, self._kvm, place.beside) as machine:
                boot = Boot(cut, self._releases.signed)
                problem = self._follow(machine, boot, cut is None)
                machine.cut()
            if boot.ran:
                self.ran.append(boot.ran)
            if problem:
                return f"boot {self.boots}: {problem}"
            if cut is None:
                return ""
            state, after_s = boot.state or IDLE, time.monotonic() - boot.since_s
            self.by_state[state] += 1
            self._say(f"cut {self.by_state.total()}: {state}, {after_s:.1f} s into it")

    def _follow(self, machine: Machine, boot: Boot, last: bool) -> str:
        """To its cut; the last boot, until the newest release holds. What is wrong, or ""."""
        while True:
            now_s = time.monotonic()
            if boot.until_s and now_s >= boot.until_s:
                return ""
            if now_s >= boot.silent_s:
                return f"nothing runs, or nothing new holds: {boot.state}"
            word = machine.next(boot.until_s or min(boot.silent_s, now_s + 5.0))
            if word is None and machine.off:
                return "the machine went off by itself"
            if word is not None:
                self._watcher(word)
            if not isinstance(word, Runs):
                continue
            ran, now_s = boot.ran, time.monotonic()
            boot.take(word, now_s)
            if boot.wrong:
                return boot.wrong
            if boot.ran and not ran:
                self._say(f"boot {self.boots}: {boot.ran} runs from {word.booted}, after {now_s - boot.began_s:.0f} s")
            if self._settled(word):
                if last and word.version == self._releases.newest:
                    return ""
                self._releases.publish(publisher.version(len(self._releases.signed) + 1))

    def _settled(self, word: Runs) -> bool:
        """The newest holds; or it will not be tried any more, or not soon: its starts were used up by cuts."""
        if word.state == IDLE and word.version == self._releases.newest:
            return True
        return self._releases.newest in word.refused or "rest" in word.waits

    def _say(self, text: str) -> None:
        at_s = round(time.monotonic() - self._began_s, 2)
        self._watcher(Step(scenario=self._name, at_s=at_s, text=text))


def play(place: Place, scenario: Scenario, folder: Path, watcher: Watcher, kvm: bool, cuts: Cuts) -> Result:
    run = _Run(place, scenario.name, folder, watcher, kvm, cuts)
    began_s, wanted = time.monotonic(), cuts.left
    problem = run.play()
    measured = {
        "cuts": float(run.by_state.total()),
        "boots that said what ran": float(len(run.ran)),
        "releases that ran": float(len(set(run.ran))),
        **{f"cut in {state}": float(count) for state, count in sorted(run.by_state.items())},
    }
    if not problem and measured["cuts"] != wanted:
        problem = f"{measured['cuts']:.0f} cuts were made, expected {wanted}"
    return Result(
        scenario=scenario.name,
        proves=scenario.proves,
        problem=problem,
        seconds=round(time.monotonic() - began_s, 1),
        measured=measured,
    )
