"""The updater: looks, fetches, has written, switches, tries out; one step at a time, each of which survives a kill.

One loop (`turn`, about twice a second) decides; what takes long is a job beside it. What is meant is on the disk before
it is done (`state.Memory`); what runs is what the slots say (`World.slots`).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from pathlib import Path

from msgspec.structs import replace

from edge import clock
from edge.errors import AuditError, UpdateError
from edge.update import state
from edge.update.client import Checked
from edge.update.gate import Back, Gate, Hold, Wait
from edge.update.jobs import Job
from edge.update.offer import Offer
from edge.update.parts import Parts
from edge.update.people import LOOKING, People
from edge.update.policy import Against, Box, Step, against
from edge.update.state import Memory, after
from edge.updating import Obstacle, Said, Trial, UpdateStatus

log = logging.getLogger(__name__)

FIRST_LOOK_S = (20.0, 600.0)  # after the start, by the box's own hash: a hospital's boxes are switched on together
SOON_S = 300.0  # a look that failed is tried again
TEST_AFTER_S, TEST_AGAIN_S = 5.0, 200.0  # of health in a trial; when it has not been heard of since
ORDER_AGAIN_S = 60.0  # a switch that nobody has carried out is ordered again
AGAIN_S = (5.0, 300.0)  # before what broke is tried again; twice as long each time
REST_S = 1800.0  # between a trial that did not hold and the next, for each that failed so far


class Updater:
    """Owner: one thread."""

    def __init__(self, parts: Parts, file: Path) -> None:
        """`file`: the memory's. Raises UpdateError."""
        self._config, self._box, self._client, self._rauc, self._world, self._audit, wishes = parts
        self._people = People(self, wishes)
        self._file = file
        self.memory = state.load(file)
        self.job: Job[Checked] | Job[Path] | Job[str] | None = None
        self._gate: Gate | None = None
        self._waits: Wait | None = None
        self._found: Against | None = None  # why what is offered is none for this box
        self._trouble = ""
        self._began_s = time.monotonic()
        self._look_at_s = self._began_s + _spread(self._box.device, FIRST_LOOK_S)
        self._ordered_s = self._again_at_s = self._test_at_s = 0.0
        self._again_s = AGAIN_S[0]
        with contextlib.suppress(UpdateError):  # a full disk: the first turn says so
            self._settle()

    # ------------------------------------------------------------------------------------------ the loop

    def turn(self) -> UpdateStatus:
        """One step of whatever is to be done now; how things stand after it. Never raises for what is wrong outside."""
        try:
            if self.job is not None and self.job.done:
                self._finish(self.job)
            self._people.hear()
            if self.job is None:
                self._settle()
                self._step()
        except UpdateError as exc:
            self._wrong(str(exc))
        self._people.answer()
        return self.status()

    @property
    def version(self) -> str:
        """That runs."""
        return self._box.version

    @property
    def booted(self) -> str:
        return self._world.slots().booted

    @property
    def url(self) -> str:
        """Of the site's repository."""
        return self._config.url

    @property
    def why_none(self) -> str:
        """What was offered last is not for this box; "" when that is not so."""
        return self._found.words if self._found else ""

    def status(self) -> UpdateStatus:
        memory, slots, job = self.memory, self._world.slots(), self.job
        trial = None
        if memory.state == "trying" and self._waits is not None:
            trial = Trial(
                until_s=self._world.trial()[1],
                healthy_s=round(self._waits.healthy_s, 1),
                needed_s=self._config.gate.healthy_s,
                lacks=self._waits.lacks,
            )
        return UpdateStatus(
            version=self._box.version,
            slot=slots.booted,
            channel=self._config.channel,
            pid=os.getpid(),
            updated_ns=time.monotonic_ns(),
            state=memory.state,
            detail=job.told[1] if job else "",
            percent=job.told[0] if job else 0,
            offer=said(memory.offer) if memory.offer else None,
            obstacles=tuple(Obstacle(code=one.code, words=one.words, waits=one.waits) for one in self.obstacles()),
            checked_at=memory.checked_at,
            checked_bytes=memory.checked_bytes,
            clock_trusted=self._world.now() is not None,
            trouble=self._trouble or memory.why or (slots.why if memory.state == "idle" else ""),
            refused=tuple(one.version for one in memory.refused),
            trial=trial,
            answers=self._people.answers,
        )

    # ------------------------------------------------------------------------------------------ steps

    def _settle(self) -> None:
        before, slots = self.memory, self._world.slots()
        settled = state.settle(before, slots)
        if settled == before:
            return
        if settled.state == "idle" and before.state != "idle":
            held = slots.booted == before.target
            words = "held" if held else f"did not hold, and is left: {settled.why}"
            version = before.offer.version if before.offer else "?"
            self.become(settled, f"{version}: {words}")
            self._client.tidy()
        else:
            self.become(settled, f"as the slots say ({slots.booted} runs)" if settled.state != before.state else "")

    def _step(self) -> None:
        now_s = time.monotonic()
        if self.memory.state in LOOKING and self._config.url and now_s >= self._look_at_s:
            self.look(self._config.url)
            return
        if now_s < self._again_at_s:
            return
        match self.memory.state:
            case "offered" if not self._against("download") and not self._resting():
                self.become(after(self.memory, "download"), "downloads")
                self._download()
            case "downloading":
                self._download()
            case "fetched" if not self._against("install"):
                self._install()
            case "installed" if not self._against("switch"):
                self._switch()
            case "switching" | "going_back":
                self._restart()
            case "trying":
                self._try()

    def look(self, base: str) -> None:
        now, channel = self._world.now(), self._config.channel
        every_s = self._config.every_h * 3600
        self._look_at_s = time.monotonic() + every_s * (1 + _spread(self._box.device, (0.0, 0.1)))

        def look(job: Job[Checked]) -> Checked:
            job.tell(0, f"looks what {base} offers")
            return self._client.check(base, channel, now)

        self._base = base
        self.job = Job("check", look)

    def _download(self) -> None:
        memory = self.memory
        offer, base = memory.offer, memory.base or self._config.url
        if offer is None:
            self.become(replace(memory, state="idle"), "there is nothing to be fetched")
            return

        def fetch(job: Job[Path]) -> Path:
            def tell(done: int, size: int) -> None:
                job.tell(done * 100 // size, f"{done >> 20} of {size >> 20} MiB")

            return self._client.download(offer, base, tell, lambda: job.stop)

        self.job = Job("download", fetch)

    def _install(self) -> None:
        offer = self.memory.offer
        bundle = self._client.bundle(offer) if offer else None
        if offer is None or bundle is None:
            self.become(after(self.memory, "broke"), "the bundle is gone: it is fetched again")
            return
        self.become(after(self.memory, "install"), f"{offer.version}: is written")

        def install(job: Job[str]) -> str:
            with contextlib.closing(self._rauc()) as rauc:
                return rauc.install(bundle, job.tell)

        self.job = Job("install", install)

    def _switch(self) -> None:
        memory, slots = self.memory, self._world.slots()
        self.become(after(memory, "switch", trials=slots.trials, before=self._world.health()), "switches")
        try:
            with contextlib.closing(self._rauc()) as rauc:
                rauc.activate(memory.target)
        except UpdateError as exc:
            self.become(after(self.memory, "broke"), str(exc))
            raise
        self._ordered_s = 0.0
        self._restart()

    def _restart(self) -> None:
        """Until somebody has: we end with it."""
        memory, slots = self.memory, self._world.slots()
        if memory.state == "going_back" and memory.target in (slots.trial, *slots.good):
            with contextlib.closing(self._rauc()) as rauc:
                rauc.reject()
        if time.monotonic() - self._ordered_s > ORDER_AGAIN_S or not self._ordered_s:
            state.save(self._file, memory)  # a disk that takes nothing could not keep the trial's count, either
            self._ordered_s = time.monotonic()
            self._world.restart()

    def _try(self) -> None:
        began_s, until_s = self._world.trial()
        if self._gate is None:
            self._gate = Gate(self._config.gate, self._box.version, self.memory.before, until_s)
        seen = self._world.sample(began_s)
        match self._gate.step(seen):
            case Hold():
                self.hold("the gate")
            case Back(why, certain):
                self.go_back(why, certain)
            case Wait() as wait:
                self._waits = wait
                ripe_s = min(TEST_AFTER_S, self._config.gate.healthy_s)
                if wait.healthy_s >= ripe_s and seen.tested is None and time.monotonic() >= self._test_at_s:
                    self._test_at_s = time.monotonic() + TEST_AGAIN_S
                    self._world.test()

    def hold(self, who: str) -> None:
        with contextlib.closing(self._rauc()) as rauc:
            rauc.accept()
        self.note("updater", "trial", f"{who} says that it holds")
        self._settle()
        self._trouble = ""

    def go_back(self, why: str, certain: bool) -> None:
        target = self._world.slots().booted
        self.become(after(self.memory, "failed", target=target, why=why, certain=certain), f"goes back: {why}")
        with contextlib.closing(self._rauc()) as rauc:
            rauc.reject()
        self._ordered_s = 0.0
        self._restart()

    # ------------------------------------------------------------------------------------------ what came of a job

    def _finish(self, job: Job[Checked] | Job[Path] | Job[str]) -> None:
        self.job = None
        memory = self.memory
        try:
            found = job.result()
        except UpdateError as exc:
            if job.name != "check":
                self.become(after(memory, "broke"), f"{job.name}: {exc}")
                if job.name == "install" and memory.offer is not None and exc.code == "refused":
                    self.become(state.refuse(after(self.memory, "withdrawn"), memory.offer, str(exc)), "is refused")
            else:
                self._look_at_s = min(self._look_at_s, time.monotonic() + SOON_S)
            self._again_at_s, self._again_s = time.monotonic() + self._again_s, min(2 * self._again_s, AGAIN_S[1])
            self._people.disappoint(str(exc))
            raise
        self._trouble, self._again_s = "", AGAIN_S[0]
        if isinstance(found, Checked):
            self.become(replace(memory, checked_at=str(clock.read()), checked_bytes=found.bytes), "")
            self._offered(found.offer)
            self._people.answer(("check",))
        elif isinstance(found, Path):
            self.become(after(memory, "fetched"), "is whole, as it was signed")
        elif memory.offer is not None:
            inside = {**memory.inside, found: memory.offer}
            self.become(after(memory, "installed", target=found, inside=inside), f"is in slot {found}")

    def _offered(self, offer: Offer | None) -> None:
        memory, self._found = self.memory, None
        if offer is not None:
            found = against("download", offer, self._this_box(), self._world.moment(), self._config)
            final = [one for one in found if not one.waits]
            self._found = final[0] if final else None
            if final:
                offer = None
        if offer is None:
            if memory.state != "idle":
                words = self._found.words if self._found else "it is offered no more"
                self.become(after(memory, "withdrawn", offer=None, target=""), words)
        elif memory.offer is not None and memory.offer.bundle == offer.bundle and memory.state != "idle":
            self.become(replace(memory, offer=offer, base=self._base), "")
        else:
            self.become(after(memory, "offered", offer=offer, base=self._base, why=""), f"{offer.version} is offered")

    # ------------------------------------------------------------------------------------------ small things

    def _this_box(self) -> Box:
        memory = self.memory
        refused = frozenset(one.sha256 for one in memory.refused)
        return replace(self._box, refused=refused, agreed=frozenset(memory.agreed))

    def _against(self, step: Step) -> tuple[Against, ...]:
        memory, box = self.memory, self._this_box()
        if memory.offer is None:
            return (Against(code="none", words="nothing is offered"),)
        if step == "download":
            box = replace(box, agreed=box.agreed | set(memory.wanted))
        return against(step, memory.offer, box, self._world.moment(), self._config)

    def obstacles(self) -> tuple[Against, ...]:
        steps: dict[str, Step] = {"offered": "download", "fetched": "install", "installed": "switch"}
        step = steps.get(self.memory.state)
        found = self._against(step) if step else ()
        if step == "download" and not found and (rest_s := self._resting()):
            found = (
                Against(code="rest", words=f"it did not hold the last time, and is tried again in {rest_s:.0f} s"),
            )
        return found

    def _resting(self) -> float:
        """Seconds."""
        offer = self.memory.offer
        failed = self.memory.failures.get(offer.bundle.sha256, 0) if offer else 0
        return max(0.0, self._began_s + REST_S * failed - time.monotonic())

    def become(self, memory: Memory, words: str) -> None:
        """On the disk first. Raises UpdateError: it is as before."""
        if memory == self.memory:
            return
        state.save(self._file, memory)
        self.memory = memory
        if words:
            self.note("updater", memory.state, words)

    def note(self, who: str, what: str, words: str) -> None:
        """A log that cannot be written holds up nothing. What is noted is in the journal, too."""
        try:
            self._audit.note(who, what, words)
        except AuditError as exc:
            self._trouble = str(exc)

    def _wrong(self, words: str) -> None:
        if words != self._trouble:
            log.warning("%s", words)
        self._trouble = words


def _spread(device: str, between: tuple[float, float]) -> float:
    """Of each box another number, always the same."""
    share = int.from_bytes(hashlib.sha256(device.encode()).digest()[:8], "big") / (1 << 64)
    return between[0] + share * (between[1] - between[0])


def said(offer: Offer) -> Said:
    """For people."""
    return Said(
        version=offer.version,
        sha256=offer.bundle.sha256,
        bytes=offer.bundle.size,
        content=offer.content,
        changes=offer.changes,
        clinical=offer.clinical,
    )
