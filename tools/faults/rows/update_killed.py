"""kill -9 of the updater, of RAUC and its bus, of everything, while one release follows another."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import get_args

from edge.updating import State
from tools.faults import updates
from tools.faults.box import LostError, verdict
from tools.faults.updates import Life, Source
from tools.ota.desk import BUS, RAUC, UPDATE

TITLE = "kill -9 of updater, RAUC and its bus, and resets of the machine, while releases follow each other"
PROMISE = (
    "what would be started is a whole image that was signed and published, what TUF verified and the history stand, a "
    "download goes on with 1 MB repeated at most, and each release runs and holds or, a bad one, is left"
)
TIMES = 200

KILLS = (4, 11)  # before a release is left to arrive
STATES: tuple[str, ...] = get_args(State)
WHO = ((UPDATE,), (UPDATE,), (RAUC,), (BUS,), (UPDATE, RAUC, BUS))
MACHINE = 0.1  # of all kills
BAD = 0.2  # of all releases
REPEATED = 1_000_000  # bytes of a download, for each time that it was cut
COMES_WITHIN_S = 20.0
LATER_S = 0.4  # at most, half of the kills in a state that is waited for
BUSY, ANY_TIME_S = 0.8, 2.5  # of all kills at any time so many while something goes on

missing = updates.missing


def play(folder: Path, times: int, dice: random.Random) -> Generator[str, None, str]:
    with updates.living(folder) as (source, life):
        killer = Killer(source, life, dice)
        while killer.done < times:
            yield from killer.one_release(times)
    fallen = ", ".join(f"{killer.fallen[state]} {state}" for state in STATES)
    return f"fallen in: {fallen}; a cut download repeated {killer.repeated / 1e6:.2f} MB at most"


class Killer:
    def __init__(self, source: Source, life: Life, dice: random.Random) -> None:
        self._source, self._life, self._dice = source, life, dice
        self.fallen: Counter[str] = Counter()  # how many kills fell in which state
        self.done, self.repeated = 0, 0.0
        self._version = ""

    def one_release(self, times: int) -> Generator[str, None, None]:
        life, dice = self._life, self._dice
        bad = dice.random() < BAD or self._rarest() == "going_back"
        self._version = version = self._source.publish()
        if bad:
            life.fails[version] = "model gave other outputs than it should"
        life.want(version)
        cuts, last = self.fallen["downloading"], False
        ends = min(self.done + dice.randint(*KILLS), times)
        while not last:
            wrong = verdict(self._kill)
            self.done += 1
            last = self.done == ends or self._over()
            if last:
                wrong = wrong or verdict(life.arrive, version) or self._fetched(self.fallen["downloading"] - cuts)
                if self.done >= times >= 10 * len(STATES):
                    wrong = wrong or self._unseen()
            yield wrong

    def _rarest(self) -> str:
        return min(STATES, key=lambda state: self.fallen[state])

    def _over(self) -> bool:
        return self._life.arrived(self._version)

    def _kill(self) -> None:
        """At any time, or in a state that was seldom met so far."""
        life, dice = self._life, self._dice
        if dice.random() < 0.5:
            if dice.random() < BUSY:
                self._wait_for(*set(STATES) - {"idle"})
            time.sleep(dice.uniform(0, ANY_TIME_S))
            who = dice.choice(WHO)
        else:
            self._wait_for(self._rarest())  # the updater's own state: it is the one to be killed
            if dice.random() < 0.5:
                time.sleep(dice.uniform(0, LATER_S))
            who = (UPDATE,)
        checked = bool(life.now and life.now.checked_at)
        if dice.random() < MACHINE and life.box.boot_state()["left"] != 1:
            life.off()
            self.fallen[life.state()] += 1
            self._look(checked)
            life.reset()
        else:
            life.kill(*who)
            self.fallen[life.state()] += 1
            self._look(checked)

    def _wait_for(self, *states: str) -> None:
        ends_s = time.monotonic() + COMES_WITHIN_S
        while self._life.state() not in states and time.monotonic() < ends_s and not self._over():
            time.sleep(0.0005)

    def _look(self, checked: bool) -> None:
        life, source = self._life, self._source
        if wrong := updates.ready(life, source) or updates.remembered(life.box, source, checked):
            raise LostError(wrong)

    def _fetched(self, cuts: int) -> str:
        """Whether a download went on where it was cut."""
        (file,) = (self._source.publisher.repository / "bundles").glob(f"{self._version}-*")
        sent, size = self._source.server.sent(f"bundles/{file.name}"), file.stat().st_size
        if cuts:
            self.repeated = max(self.repeated, (sent - size) / cuts)
        return "" if sent <= size + cuts * REPEATED else f"{sent} of {size} bytes were sent, with {cuts} cuts"

    def _unseen(self) -> str:
        unseen = [state for state in STATES if not self.fallen[state]]
        return f"no kill fell in: {', '.join(unseen)}" if unseen else ""
