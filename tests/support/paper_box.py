"""A box on paper for the updater: slots by the slot program's own pure functions, RAUC and the network as calls that do
what they say. Every effect may be the last: `Killed` is raised before or after it, as SIGKILL would, or with `power`
as a power cut."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge.audit import Audit
from edge.clock import SystemClock
from edge.errors import UpdateError
from edge.types import SignalState
from edge.update import slot, state, updater
from edge.update.client import Checked
from edge.update.config import UpdateConfig
from edge.update.gate import Needs, Sample
from edge.update.offer import Bundle, Offer
from edge.update.parts import Parts
from edge.update.policy import Box, Moment
from edge.update.state import Health, Slots
from edge.update.updater import Updater
from edge.update.wishes import Wishes
from edge.updating import UpdateStatus, Verb, wish

HARDWARE = "paper"
TRIAL_S = 300.0


def offer(version: str, **changes: Any) -> Offer:
    digest = hashlib.sha256(version.encode()).hexdigest()
    bundle = Bundle(url=f"bundles/{version}", size=1000, sha256=digest)
    return Offer(version=version, channel="stable", hardware=(HARDWARE,), bundle=bundle, **changes)


class Killed(BaseException):
    """No `except Exception` is in its way."""


class PaperBox:
    """What survives a kill is here. `kill_at`: the number of the effect that is the last one."""

    def __init__(self, folder: Path, config: UpdateConfig | None = None) -> None:
        self.folder = folder
        self.config = config or UpdateConfig(
            url="https://updates.example", consent=False, gate=Needs(healthy_s=3, healthy_frames=10**6)
        )
        self.offered: Offer | None = offer("1.1.0")
        self.boot, self.booted, self.inside = slot.Boot(), "F", {"F": "1.0.0"}
        self.bundles: set[str] = set()
        self.now_s, self.began_s = 1000.0, 1000.0
        self.good = Sample(
            at_s=0, core_pid=1, version="", state=SignalState.LIVE, fps=25.0, p99_ms=20.0, connected=True, tested=None
        )
        self.bad: dict[str, dict[str, Any]] = {}  # version → how its samples differ
        self.wall: datetime | None = datetime(2031, 1, 1, tzinfo=timezone.utc)
        self.ask = Moment(procedure=False, free_bytes=1 << 40)
        self.trouble: dict[str, UpdateError] = {}  # call → what it raises
        self.tested = False
        self.effects: list[str] = []
        self.kill_at = -1
        self.kill_after = self.power = False
        self.orders = 0
        self.arriving = threading.Event()  # a download ends when it is set
        self.arriving.set()
        (folder / "wishes").mkdir(parents=True)
        self.running = self._start()

    # ------------------------------------------------------------------------------------------ life and death

    @property
    def version(self) -> str:
        return self.inside[self.booted]

    def _start(self) -> Updater:
        parts = Parts(
            config=self.config,
            box=Box(device="paper-1", hardware=HARDWARE, version=self.version),
            client=self,  # type: ignore[arg-type]
            rauc=lambda: self,  # type: ignore[arg-type,return-value]
            world=self,
            audit=Audit(self.folder / "history", SystemClock()),
            wishes=Wishes(self.folder / "wishes"),
        )
        made = Updater(parts, self.folder / "state.json")
        made._look_at_s = 0.0
        return made

    def effect(self, name: str, do: Callable[[], object] = lambda: None) -> None:
        self.effects.append(name)
        last = len(self.effects) == self.kill_at
        if last and not self.kill_after:
            raise Killed(name)
        do()
        if last:
            raise Killed(name)

    def turn(self) -> UpdateStatus | None:
        """One turn and a second later; None: it was killed in it, and is started anew."""
        self.now_s += 1.0
        try:
            said = self.running.turn()
            if self.running.job is not None:
                self.running.job.wait(10 if self.arriving.is_set() else 0.01)
            if self.orders:
                self.boot_up()
            return said
        except Killed:
            self.kill_at = -1
        if self.power:
            self.boot_up()
        else:
            self.running = self._start()
        return None

    def boot_up(self) -> None:
        """As `slot up` does, after an order or when the power is back."""
        self.orders = 0
        self.boot, self.booted = slot.start(self.boot)
        self.began_s, self.tested = self.now_s, False
        self.running = self._start()

    def until(self, condition: Callable[[UpdateStatus], object], turns: int = 400) -> UpdateStatus:
        for _ in range(turns):
            said = self.turn()
            if said is not None and condition(said):
                return said
        raise AssertionError(f"never: {self.running.status()}, {self.effects[-10:]}")

    def wish(self, verb: Verb, version: str = "", source: str = "") -> str:
        return wish(self.folder / "wishes", verb, "anna", version, source)

    def answered(self, verb: Verb, version: str = "", source: str = "") -> tuple[bool, str]:
        id_ = self.wish(verb, version, source)
        said = self.until(lambda now: any(one.id == id_ and one.done for one in now.answers))
        answer = next(one for one in said.answers if one.id == id_)
        return answer.ok, answer.words

    @property
    def memory(self) -> state.Memory:
        return state.load(self.folder / "state.json")

    def _may(self, call: str) -> None:
        if call in self.trouble:
            raise self.trouble[call]

    # ------------------------------------------------------------------------------------------ World

    def slots(self) -> Slots:
        return Slots(self.booted, self.boot.trial, self.boot.trials, self.boot.good, self.boot.why)

    def moment(self) -> Moment:
        return self.ask

    def health(self) -> Health:
        return Health(live=True, fps=25.0, p99_ms=20.0, connected=True)

    def sample(self, began_s: float) -> Sample:
        seen = self.good._replace(at_s=self.now_s, version=self.version, tested=True if self.tested else None)
        return seen._replace(**self.bad.get(self.version, {}))

    def trial(self) -> tuple[float, float]:
        return self.began_s, self.began_s + TRIAL_S

    def restart(self) -> None:
        self.effect("restart", lambda: setattr(self, "orders", 1))

    def test(self) -> None:
        self.effect("test", lambda: setattr(self, "tested", True))

    def now(self) -> datetime | None:
        return self.wall

    # ------------------------------------------------------------------------------------------ Client

    def check(self, base: str, channel: str, now: datetime | None) -> Checked:
        self._may("check")
        if self.offered is None:
            raise UpdateError("it has no channel", "absent")
        return Checked(offer=self.offered, bytes=1, signed_at="2031-01-01T00:00:00Z", expires_at="2031-02-01T00:00:00Z")

    def download(self, wanted: Offer, base: str, tell: Callable[[int, int], None], stop: Callable[[], bool]) -> Path:
        self._may("download")
        tell(500, 1000)
        self.arriving.wait(10)
        self.bundles.add(wanted.bundle.sha256)
        return self.folder / wanted.version

    def bundle(self, wanted: Offer) -> Path | None:
        return self.folder / wanted.version if wanted.bundle.sha256 in self.bundles else None

    def tidy(self) -> None:
        self.bundles.clear()

    # ------------------------------------------------------------------------------------------ RAUC

    def install(self, bundle: Path, tell: Callable[[int, str], None]) -> str:
        self._may("install")
        target = "B" if self.booted == "A" else "A"
        self.boot = slot.mark(self.boot, target, "bad")
        tell(50, "copies")
        self.inside[target] = bundle.name
        return target

    def activate(self, name: str) -> None:
        self._may("activate")
        self.effect("activate", lambda: setattr(self, "boot", slot.try_out(self.boot, name)))

    def accept(self) -> None:
        self._may("accept")
        self.effect("accept", lambda: setattr(self, "boot", slot.mark(self.boot, self.booted, "good")))

    def reject(self) -> None:
        self._may("reject")
        self.effect("reject", lambda: setattr(self, "boot", slot.mark(self.boot, self.booted, "bad")))

    def close(self) -> None:
        """Nothing is open."""


def kill_in_writes(box: PaperBox, monkeypatch: Any) -> None:
    """Every change of the memory is an effect, too."""
    save = state.save

    def watched(file: Path, memory: state.Memory) -> None:
        box.effect(f"save {memory.state}", lambda: save(file, memory))

    monkeypatch.setattr(updater.state, "save", watched)
