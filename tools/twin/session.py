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
from tools.twin.words import Began, Done, Ended, File, Up, Word

BOOT_LIMIT_S = 900.0  # emulated, on a machine that has other things to do
CLIP = phantom.Config(seed=1, fps=10, seconds=60)  # few frames a second: the guest has to decode them
END_LIMIT_S = 120.0  # from the last scenario's end to power off


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
    boot_s: float  # to a box, of the first machine
    boots: int


Watcher = Callable[[Word], None]


def play(image: Image, wanted: Sequence[Scenario], folder: Path, watcher: Watcher, kvm: bool = False) -> Session:
    """All of `wanted`, in order; evidence in `folder`, every word also to `watcher`. EdgeError when QEMU is broken."""
    results: list[Result] = []
    kernel, boot_s, boots = "", 0.0, 0
    with tempfile.TemporaryDirectory(prefix="twin-disk-") as scratch:
        disk = Path(scratch) / "checkout.img"
        checkout.write_disk(disk, phantom.prepare(CLIP).video if any(one.needs_clip for one in wanted) else None)
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
        self._begun = False
        self._began_s = time.monotonic()
        self._limit("the machine did not come up", BOOT_LIMIT_S)

    def follow(self, machine: Machine) -> None:
        while (word := machine.next(self._limit_at_s)) is not None:
            self._watcher(word)
            if isinstance(word, Done):
                break
            self._take(word)
        left = self._wanted[len(self.results) :]
        if not left or (isinstance(word, Done) and self.results and not word.problem):
            return
        if isinstance(word, Done):
            problem = word.problem or "it has no result"
        elif time.monotonic() >= self._limit_at_s:
            problem = f"{self._problem} within {self._limit_s:.0f} s; the machine was killed"
        else:
            problem = f"{self._problem}: the machine went off by itself"
        # A machine on which nothing began will not be better for the next scenario.
        for lost in left[:1] if self._begun else left:
            self._ended(Ended(scenario=lost.name, problem=problem, seconds=0.0, measured={}))

    def _take(self, word: Word) -> None:
        if isinstance(word, Up):
            self.kernel, self.boot_s = word.kernel, time.monotonic() - self._began_s
            self._limit("the agent did not begin", END_LIMIT_S)
        elif isinstance(word, Began):
            self._begun = True
            self._limit("the scenario did not end", self._next().limit_s)
        elif isinstance(word, Ended):
            self._ended(word)
            self._limit("the machine did not go on", END_LIMIT_S)
        elif isinstance(word, File):
            path = self._folder / word.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(word.text)

    def _next(self) -> Scenario:
        return self._wanted[len(self.results)]

    def _limit(self, problem: str, seconds: float) -> None:
        self._problem, self._limit_s, self._limit_at_s = problem, seconds, time.monotonic() + seconds

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
