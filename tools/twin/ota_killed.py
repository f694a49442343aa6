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
from tools.twin.session import BOOT_LIMIT_S, SILENCE_S, Result, Watcher
from tools.twin.words import Runs, Step, Up

if TYPE_CHECKING:
    from tools.twin.ota import Place

FILLING_MIB = 8  # that a release takes some time to come and to be written
HOLDS_WITHIN_S = 1800.0  # of the host, for the last of them
RIPE_S = 100.0  # of the host: an update takes about as long, emulated
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
        share, again = self._random.random(), self._last == "boot"
        if share < _IN_A_STATE:
            cut = Cut(self._random.choice(STATES), self._random.uniform(0, 3))
        elif share < _IN_A_STATE + _IN_THE_BOOT and not again:
            cut = Cut("boot", self._random.uniform(5, 80))
        else:
            cut = Cut("seen", self._random.uniform(0, RIPE_S))
        self._last = cut.when
        return cut


class Seen:
    """Of one boot. `wrong`: why what runs is no whole release."""

    def __init__(self, signed: dict[str, str]) -> None:
        self._signed, self.judged, self.wrong = signed, 0, ""
        self.last = Runs(state="", booted="", sha256="", version="")

    def take(self, word: Runs) -> None:
        self.last = word
        if not word.version:
            return  # nothing is live just now: it starts, or is being switched
        self.judged += 1
        right = word.version == __version__ if word.booted == "F" else self._signed.get(word.version) == word.sha256
        if not right:
            self.wrong = f"{word.version} runs from {word.booted}, its image has the sha256 {word.sha256 or 'of none'}"


class _Run:
    """Owner: one thread."""

    def __init__(self, place: Place, name: str, folder: Path, watcher: Watcher, kvm: bool, cuts: Cuts) -> None:
        self._place, self._name, self._folder, self._watcher, self._kvm = place, name, folder, watcher, kvm
        self._cuts, self._releases = cuts, place.releases
        self._began_s = time.monotonic()
        self.boots, self.judged, self.by_state, self.ran = 0, 0, Counter[str](), list[str]()

    def say(self, text: str) -> None:
        at_s = round(time.monotonic() - self._began_s, 2)
        self._watcher(Step(scenario=self._name, at_s=at_s, text=text))

    def play(self) -> str:
        """Until all cuts are made and the newest release holds. Why not, or ""."""
        while True:
            cut = self._cuts.next()
            problem, over = self._boot(cut)
            if problem or over:
                return problem

    def _boot(self, cut: Cut | None) -> tuple[str, bool]:
        """(what is wrong, whether the newest holds and no cut is left)."""
        self.boots += 1
        place, seen = self._place, Seen(self._releases.signed)
        console = self._folder / f"console-{self.boots}.txt"
        with Machine(place.image, place.checkout, [self._name], console, self._kvm, place.beside) as machine:
            began_s, state, at_s = time.monotonic(), "boot", time.monotonic()
            until_s = began_s + cut.after_s if cut and cut.when == "boot" else 0.0
            silent_s = began_s + BOOT_LIMIT_S
            while True:
                now_s = time.monotonic()
                if until_s and now_s >= until_s:
                    machine.cut()
                    self.by_state[state] += 1
                    ran = seen.last.version or "nothing yet"
                    self.say(f"cut {self._made()}: {state or 'idle'}, {now_s - at_s:.1f} s into it; {ran} ran")
                    return "", False
                if now_s >= silent_s:
                    return f"boot {self.boots}: nothing runs, or nothing new holds: {seen.last}", False
                word = machine.next(until_s or min(silent_s, now_s + 5.0))
                if word is None and machine.off:
                    return f"boot {self.boots}: the machine went off by itself", False
                if word is None:
                    continue
                self._watcher(word)
                if isinstance(word, Up):
                    silent_s = now_s + SILENCE_S
                if not isinstance(word, Runs):
                    continue
                first = not seen.judged
                seen.take(word)
                if seen.wrong:
                    return f"boot {self.boots}: {seen.wrong}", False
                if first and seen.judged:
                    self.judged += 1
                    self.ran.append(word.version)
                    silent_s = now_s + HOLDS_WITHIN_S
                    self.say(f"boot {self.boots}: {word.version} runs from {word.booted}, {now_s - began_s:.0f} s")
                    if cut and cut.when == "seen":
                        until_s = now_s + cut.after_s
                if seen.judged and word.state != state:
                    state, at_s = word.state, now_s
                    if cut and not until_s and (cut.when == state or now_s - began_s > 3 * RIPE_S):
                        until_s = now_s + cut.after_s
                if self._settled(word):
                    if cut is None:
                        return "", True
                    self._releases.publish(publisher.version(len(self._releases.signed) + 1))

    def _made(self) -> int:
        return sum(self.by_state.values())

    def _settled(self, word: Runs) -> bool:
        """The newest holds; or it will not be tried any more, or not soon: its starts were used up by cuts."""
        if word.state == "idle" and word.version == self._releases.newest:
            return True
        return self._releases.newest in word.refused or "rest" in word.waits


def play(place: Place, scenario: Scenario, folder: Path, watcher: Watcher, kvm: bool, cuts: Cuts) -> Result:
    run = _Run(place, scenario.name, folder, watcher, kvm, cuts)
    began_s, wanted = time.monotonic(), cuts.left
    problem = run.play()
    measured = {
        "cuts": float(sum(run.by_state.values())),
        "boots that said what ran": float(run.judged),
        "releases that ran": float(len(set(run.ran))),
        **{f"cut while {state or 'idle'}": float(count) for state, count in sorted(run.by_state.items())},
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
