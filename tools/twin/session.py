"""Scenarios into machines, results out: one boot for as many as go, another one after a machine that hung."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edge.capture import phantom
from edge.types import Struct
from tools.twin import checkout
from tools.twin.image import Image
from tools.twin.machine import Machine
from tools.twin.scenarios import Scenario
from tools.twin.words import Began, Done, Ended, File, Tick, Up, Word

CLIP = phantom.Config(seed=1, fps=10, seconds=60)  # few frames a second: the guest has to decode them
# In the host's seconds, for a host that has other things to do. A scenario's own limit is in the guest's.
BOOT_LIMIT_S = 1800.0
SILENCE_S = 600.0


class Result(Struct, frozen=True, kw_only=True):
    """One scenario. `seconds` and `measured` are the guest's own; `problem` is "" when all held."""

    scenario: str
    proves: str
    problem: str
    seconds: float
    measured: dict[str, float]


class Session(Struct, frozen=True, kw_only=True):
    results: list[Result]
    kernel: str
    boot_s: float  # by the first machine's own clock
    boots: int


def joined(one: Session, other: Session) -> Session:
    return Session(
        results=[*one.results, *other.results],
        kernel=one.kernel or other.kernel,
        boot_s=one.boot_s or other.boot_s,
        boots=one.boots + other.boots,
    )


Watcher = Callable[[Word], None]


def play(image: Image, wanted: Sequence[Scenario], folder: Path, watcher: Watcher, kvm: bool = False) -> Session:
    """All of `wanted`, in order; evidence in `folder`, every word also to `watcher`. EdgeError when QEMU is broken."""
    results: list[Result] = []
    kernel, boot_s, boots = "", 0.0, 0
    with tempfile.TemporaryDirectory(prefix="twin-disk-") as scratch:
        disk = Path(scratch) / "checkout.img"
        clip = {"phantom.mkv": phantom.prepare(CLIP).video} if any(one.needs_clip for one in wanted) else {}
        checkout.write_disk(disk, clip)
        left = list(wanted)
        while left:
            boots += 1
            console = folder / f"console-{boots}.txt"
            run = _Run(left, folder, watcher)
            with Machine(image, disk, [one.name for one in left], console, kvm) as machine:
                run.follow(machine)
            results += run.results
            left = left[len(run.results) :]
            kernel, boot_s = kernel or run.kernel, boot_s or run.boot_s
    return Session(results=results, kernel=kernel, boot_s=boot_s, boots=boots)


class _Run:
    """One boot: follows it to its end, or to the scenario that hung. Afterwards at least one more has a result."""

    def __init__(self, wanted: Sequence[Scenario], folder: Path, watcher: Watcher) -> None:
        self._wanted, self._folder, self._watcher = list(wanted), folder, watcher
        self.results: list[Result] = []
        self.kernel, self.boot_s = "", 0.0
        self._begun = self._late = False
        self._since_s = 0.0  # the machine's own time at the first tick of what is going on; 0: none yet
        self._silence_s = BOOT_LIMIT_S

    def follow(self, machine: Machine) -> None:
        while (word := machine.next(time.monotonic() + self._silence_s)) is not None:
            self._watcher(word)
            if isinstance(word, Done):
                break
            self._take(word)
            if self._late:
                break
        left = self._wanted[len(self.results) :]
        if not left or (isinstance(word, Done) and self.results and not word.problem):
            return
        if isinstance(word, Done):
            problem = word.problem or "it has no result"
        elif self._late:
            problem = f"not over within {self._next().limit_s:.0f} s of the machine's time; the machine was killed"
        elif machine.off:
            problem = "the machine went off by itself"
        else:
            problem = f"the machine said nothing for {self._silence_s:.0f} s; it was killed"
        # A machine on which nothing began will not be better for the next scenario.
        for lost in left[:1] if self._begun else left:
            self._ended(Ended(scenario=lost.name, problem=problem, seconds=0.0, measured={}))

    def _take(self, word: Word) -> None:
        if isinstance(word, Up):
            self.kernel, self.boot_s = word.kernel, word.uptime_s
            self._silence_s = SILENCE_S
        elif isinstance(word, Tick):
            self._since_s = self._since_s or word.uptime_s
            self._late = len(self.results) < len(self._wanted) and word.uptime_s - self._since_s > self._next().limit_s
        elif isinstance(word, Began):
            self._begun, self._since_s = True, 0.0
        elif isinstance(word, Ended):
            self._ended(word)
            self._since_s = 0.0
        elif isinstance(word, File):
            path = self._folder / word.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(word.text)

    def _next(self) -> Scenario:
        return self._wanted[len(self.results)]

    def _ended(self, word: Ended) -> None:
        self.results.append(
            Result(
                scenario=word.scenario,
                proves=self._next().proves,
                problem=word.problem,
                seconds=word.seconds,
                measured=word.measured,
            )
        )
