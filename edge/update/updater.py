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
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from edge import clock
from edge.audit import Audit
from edge.errors import AuditError, UpdateError
from edge.update import state
from edge.update.client import Checked, Client
from edge.update.config import UpdateConfig
from edge.update.gate import Back, Gate, Hold, Sample, Wait
from edge.update.install import Rauc
from edge.update.jobs import Job
from edge.update.offer import Offer
from edge.update.policy import Against, Box, Moment, Step, against
from edge.update.state import Health, Memory, Slots, after
from edge.update.wishes import Wishes
from edge.updating import Obstacle, Said, Trial, UpdateStatus, Wish

log = logging.getLogger(__name__)

FIRST_LOOK_S = (20.0, 600.0)  # after the start, by the box's own hash: a hospital's boxes are switched on together
SOON_S = 300.0  # a look that failed is tried again
TEST_AFTER_S, TEST_AGAIN_S = 5.0, 200.0  # of health in a trial; when it has not been heard of since
ORDER_AGAIN_S = 60.0  # a switch that nobody has carried out is ordered again
AGAIN_S = (5.0, 300.0)  # before what broke is tried again; twice as long each time
REST_S = 1800.0  # between a trial that did not hold and the next, for each that failed so far
OTHER_STATES_LOOK = ("idle", "offered", "fetched", "installed")
_NOTHING_NEWER = ("runs", "older")


class World(Protocol):
    """What the updater sees and does of the machine. None of it waits."""

    def slots(self) -> Slots: ...

    def moment(self) -> Moment: ...

    def health(self) -> Health:
        """How the release that runs does."""

    def sample(self, began_s: float) -> Sample:
        """... while it is on trial, since `began_s` (CLOCK_BOOTTIME)."""

    def trial(self) -> tuple[float, float]:
        """When it began, and when the system goes back. CLOCK_BOOTTIME."""

    def restart(self) -> None:
        """Has the machine start whichever release is to run now. Raises UpdateError."""

    def test(self) -> None:
        """Has the release's self-test begin: `sample` tells how it ended. Raises UpdateError."""

    def now(self) -> datetime | None:
        """None: the clock is not to be believed."""


class Parts(NamedTuple):
    config: UpdateConfig
    box: Box  # `refused` and `agreed` are filled in here
    client: Client
    rauc: Callable[[], Rauc]
    world: World
    audit: Audit
    wishes: Wishes


class Updater:
    """Owner: one thread."""

    def __init__(self, parts: Parts, file: Path) -> None:
        """`file`: the memory's. Raises UpdateError."""
        self._config, self._box, self._client, self._rauc, self._world, self._audit, self._wishes = parts
        self._file = file
        self._memory = state.load(file)
        self._job: Job[Checked] | Job[Path] | Job[str] | None = None
        self._gate: Gate | None = None
        self._waits: Wait | None = None
        self._found: Against | None = None  # why what is offered is none for this box
        self._trouble = ""
        self._began_s = time.monotonic()
        self._look_at_s = self._began_s + _spread(self._box.device, FIRST_LOOK_S)
        self._ordered_s = self._again_at_s = self._test_at_s = 0.0
        self._again_s = AGAIN_S[0]
        self._settle()

    # ------------------------------------------------------------------------------------------ the loop

    def turn(self) -> UpdateStatus:
        """One step of whatever is to be done now; how things stand after it. Never raises for what is wrong outside."""
        try:
            if self._job is not None and self._job.done:
                self._finish(self._job)
            for wish in self._wishes.take():
                self._hear(wish)
            if self._job is None:
                self._settle()
                self._step()
        except UpdateError as exc:
            self._wrong(str(exc))
        self._answer()
        return self.status()

    @property
    def busy(self) -> bool:
        """A job is going on, and it says nothing new by itself."""
        return self._job is not None

    def status(self) -> UpdateStatus:
        memory, slots, job = self._memory, self._world.slots(), self._job
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
            offer=_said(memory.offer),
            obstacles=tuple(Obstacle(code=one.code, words=one.words, waits=one.waits) for one in self._obstacles()),
            checked_at=memory.checked_at,
            checked_bytes=memory.checked_bytes,
            clock_trusted=self._world.now() is not None,
            trouble=self._trouble or memory.why,
            refused=tuple(one.version for one in memory.refused),
            trial=trial,
            answers=self._wishes.answers,
        )

    # ------------------------------------------------------------------------------------------ steps

    def _settle(self) -> None:
        before, slots = self._memory, self._world.slots()
        settled = state.settle(before, slots)
        if settled == before:
            return
        if settled.state == "idle" and before.state != "idle":
            held = slots.booted == before.target
            words = "held" if held else f"did not hold, and is left: {settled.why}"
            version = before.offer.version if before.offer else "?"
            self._become(settled, f"{version}: {words}")
            self._client.tidy()
        else:
            self._become(settled, f"as the slots say ({slots.booted} runs)" if settled.state != before.state else "")

    def _step(self) -> None:
        now_s = time.monotonic()
        if self._memory.state in OTHER_STATES_LOOK and self._config.url and now_s >= self._look_at_s:
            self._look(self._config.url)
            return
        if now_s < self._again_at_s:
            return
        match self._memory.state:
            case "offered" if not self._against("download") and not self._resting():
                self._become(after(self._memory, "download"), "downloads")
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

    def _look(self, base: str) -> None:
        now, channel = self._world.now(), self._config.channel
        every_s = self._config.every_h * 3600
        self._look_at_s = time.monotonic() + every_s * (1 + _spread(self._box.device, (0.0, 0.1)))

        def look(job: Job[Checked]) -> Checked:
            job.tell(0, f"looks what {base} offers")
            return self._client.check(base, channel, now)

        self._base = base
        self._job = Job("check", look)

    def _download(self) -> None:
        memory = self._memory
        offer, base = memory.offer, memory.base or self._config.url
        if offer is None:
            self._become(replace(memory, state="idle"), "there is nothing to be fetched")
            return

        def fetch(job: Job[Path]) -> Path:
            def tell(done: int, size: int) -> None:
                job.tell(done * 100 // size, f"{done >> 20} of {size >> 20} MiB")

            return self._client.download(offer, base, tell, lambda: job.stop)

        self._job = Job("download", fetch)

    def _install(self) -> None:
        offer = self._memory.offer
        bundle = self._client.bundle(offer) if offer else None
        if offer is None or bundle is None:
            self._become(after(self._memory, "broke"), "the bundle is gone: it is fetched again")
            return
        self._become(after(self._memory, "install"), f"{offer.version}: is written")

        def install(job: Job[str]) -> str:
            with contextlib.closing(self._rauc()) as rauc:
                return rauc.install(bundle, job.tell)

        self._job = Job("install", install)

    def _switch(self) -> None:
        memory, slots = self._memory, self._world.slots()
        self._become(after(memory, "switch", trials=slots.trials, before=self._world.health()), "switches")
        try:
            with contextlib.closing(self._rauc()) as rauc:
                rauc.activate(memory.target)
        except UpdateError as exc:
            self._become(after(self._memory, "broke"), str(exc))
            raise
        self._ordered_s = 0.0
        self._restart()

    def _restart(self) -> None:
        """Until somebody has: we end with it."""
        memory, slots = self._memory, self._world.slots()
        if memory.state == "going_back" and memory.target in (slots.trial, *slots.good):
            with contextlib.closing(self._rauc()) as rauc:
                rauc.reject()
        if time.monotonic() - self._ordered_s > ORDER_AGAIN_S or not self._ordered_s:
            self._ordered_s = time.monotonic()
            self._world.restart()

    def _try(self) -> None:
        began_s, until_s = self._world.trial()
        if self._gate is None:
            self._gate = Gate(self._config.gate, self._box.version, self._memory.before, until_s)
        seen = self._world.sample(began_s)
        match self._gate.step(seen):
            case Hold():
                self._hold("the gate")
            case Back(why, certain):
                self._go_back(why, certain)
            case Wait() as wait:
                self._waits = wait
                ripe_s = min(TEST_AFTER_S, self._config.gate.healthy_s)
                if wait.healthy_s >= ripe_s and seen.tested is None and time.monotonic() >= self._test_at_s:
                    self._test_at_s = time.monotonic() + TEST_AGAIN_S
                    self._world.test()

    def _hold(self, who: str) -> None:
        with contextlib.closing(self._rauc()) as rauc:
            rauc.accept()
        self._note("updater", "trial", f"{who} says that it holds")
        self._settle()
        self._trouble = ""

    def _go_back(self, why: str, certain: bool) -> None:
        target = self._world.slots().booted
        self._become(after(self._memory, "failed", target=target, why=why, certain=certain), f"goes back: {why}")
        with contextlib.closing(self._rauc()) as rauc:
            rauc.reject()
        self._ordered_s = 0.0
        self._restart()

    # ------------------------------------------------------------------------------------------ what came of a job

    def _finish(self, job: Job[Checked] | Job[Path] | Job[str]) -> None:
        self._job = None
        memory = self._memory
        try:
            found = job.result()
        except UpdateError as exc:
            if job.name != "check":
                self._become(after(memory, "broke"), f"{job.name}: {exc}")
                if job.name == "install" and memory.offer is not None and exc.code == "refused":
                    self._become(state.refuse(after(self._memory, "withdrawn"), memory.offer, str(exc)), "is refused")
            else:
                self._look_at_s = min(self._look_at_s, time.monotonic() + SOON_S)
            self._again_at_s, self._again_s = time.monotonic() + self._again_s, min(2 * self._again_s, AGAIN_S[1])
            self._end_wishes(str(exc))
            raise
        self._trouble, self._again_s = "", AGAIN_S[0]
        if isinstance(found, Checked):
            self._become(replace(memory, checked_at=str(clock.read()), checked_bytes=found.bytes), "")
            self._offered(found.offer)
        elif isinstance(found, Path):
            self._become(after(memory, "fetched"), "is whole, as it was signed")
        elif memory.offer is not None:
            inside = {**memory.inside, found: memory.offer}
            self._become(after(memory, "installed", target=found, inside=inside), f"is in slot {found}")

    def _offered(self, offer: Offer | None) -> None:
        memory, self._found = self._memory, None
        if offer is not None:
            found = against("download", offer, self._this_box(), self._world.moment(), self._config)
            final = [one for one in found if not one.waits]
            self._found = final[0] if final else None
            if final:
                offer = None
        if offer is None:
            if memory.state != "idle":
                words = self._found.words if self._found else "it is offered no more"
                self._become(after(memory, "withdrawn", offer=None, target=""), words)
        elif memory.offer is not None and memory.offer.bundle == offer.bundle and memory.state != "idle":
            self._become(replace(memory, offer=offer, base=self._base), "")
        else:
            self._become(after(memory, "offered", offer=offer, base=self._base, why=""), f"{offer.version} is offered")

    # ------------------------------------------------------------------------------------------ wishes

    def _hear(self, wish: Wish) -> None:
        if wish.verb != "check":
            self._note(wish.who, f"update {wish.verb} {wish.version}".strip(), "asked for")
        try:
            match wish.verb:
                case "check" | "download" | "install":
                    self._hear_look(wish)
                case "confirm":
                    self._must_try()
                    self._hold(wish.who)
                    self._wishes.answer(wish, f"{self._box.version} is kept")
                case "rollback":
                    self._hear_back(wish)
        except UpdateError as exc:
            self._wishes.answer(wish, str(exc), ok=False)

    def _hear_look(self, wish: Wish) -> None:
        """Looks first, where nothing is known or a stick is named; `_answer` goes on with it."""
        memory = self._memory
        base = wish.source or self._config.url
        if memory.state not in OTHER_STATES_LOOK:
            raise UpdateError(f"not now: {memory.state}; see `endoedge update status`")
        if self._job is not None and self._job.name == "check" and not wish.source:
            return  # it is being looked already
        if wish.verb == "check" or wish.source or memory.offer is None:
            if not base:
                raise UpdateError("update.url is not set: name a stick's folder")
            if self._job is not None:
                raise UpdateError(f"not now: {self._job.told[1]}")
            self._look(base)

    def _hear_back(self, wish: Wish) -> None:
        memory, slots = self._memory, self._world.slots()
        if slots.booted == "F":
            raise UpdateError("what runs is what was installed first: there is nothing behind it")
        if self._job is not None or memory.state in ("downloading", "installing", "switching", "going_back"):
            raise UpdateError(f"not now: {memory.state}; see `endoedge update status`")
        self._go_back(f"{wish.who} asked for it", True)
        self._wishes.answer(wish, "goes back to the release before")

    def _must_try(self) -> None:
        if self._memory.state != "trying":
            raise UpdateError("nothing is on trial")

    def _answer(self) -> None:
        """Wishes that wait for what was found, fetched or written."""
        memory = self._memory
        if self._job is not None:
            percent, words = self._job.told
            for wish in self._wishes.waiting:
                self._wishes.answer(wish, f"{percent} %: {words}" if percent else words or "begins", done=False)
            return
        for wish in self._wishes.waiting:
            try:
                self._carry_on(wish, memory)
            except UpdateError as exc:
                self._wishes.answer(wish, str(exc), ok=False)

    def _carry_on(self, wish: Wish, memory: Memory) -> None:
        offer = memory.offer
        if offer is None:
            words = self._found.words if self._found else "nothing newer is offered"
            return self._wishes.answer(wish, words, ok=wish.verb == "check")
        if wish.version and wish.version != offer.version:
            raise UpdateError(f"{wish.version} is not offered; {offer.version} is")
        digest = offer.bundle.sha256
        if wish.verb == "check":
            return self._wishes.answer(wish, f"{offer.version} is offered")
        if wish.verb == "download":
            if digest not in memory.wanted:
                return self._become(state.want(memory, digest), f"{wish.who} wants it fetched")
            if memory.state != "offered":
                return self._wishes.answer(wish, f"{offer.version} is here")
        if wish.verb == "install":
            if not wish.version:
                raise UpdateError(f"name the version that you agree to: endoedge update install {offer.version}")
            if digest not in memory.agreed or digest in self._this_box().refused:
                return self._become(state.agree(memory, digest), f"{wish.who} agrees to {offer.version}")
            if memory.state in ("switching", "trying"):
                return self._wishes.answer(wish, f"{offer.version} is written, and the box switches to it now")
        if waits := self._obstacles():
            return self._wishes.answer(wish, "it waits: " + "; ".join(one.words for one in waits))
        return None

    def _end_wishes(self, wrong: str) -> None:
        """What failed is an answer to all who waited for it."""
        for wish in self._wishes.waiting:
            self._wishes.answer(wish, wrong, ok=False)

    # ------------------------------------------------------------------------------------------ small things

    def _this_box(self) -> Box:
        memory = self._memory
        refused = frozenset(one.sha256 for one in memory.refused)
        return replace(self._box, refused=refused, agreed=frozenset(memory.agreed))

    def _against(self, step: Step) -> tuple[Against, ...]:
        memory, box = self._memory, self._this_box()
        if memory.offer is None:
            return (Against(code="none", words="nothing is offered"),)
        if step == "download":
            box = replace(box, agreed=box.agreed | set(memory.wanted))
        return against(step, memory.offer, box, self._world.moment(), self._config)

    def _obstacles(self) -> tuple[Against, ...]:
        steps: dict[str, Step] = {"offered": "download", "fetched": "install", "installed": "switch"}
        step = steps.get(self._memory.state)
        found = self._against(step) if step else ()
        if step == "download" and not found and (rest_s := self._resting()):
            found = (
                Against(code="rest", words=f"it did not hold the last time, and is tried again in {rest_s:.0f} s"),
            )
        return found

    def _resting(self) -> float:
        """Seconds."""
        offer = self._memory.offer
        failed = self._memory.failures.get(offer.bundle.sha256, 0) if offer else 0
        return max(0.0, self._began_s + REST_S * failed - time.monotonic())

    def _become(self, memory: Memory, words: str) -> None:
        """On the disk first. Raises UpdateError: it is as before."""
        if memory == self._memory:
            return
        state.save(self._file, memory)
        self._memory = memory
        if words:
            self._note("updater", memory.state, words)

    def _note(self, who: str, what: str, words: str) -> None:
        """A log that cannot be written holds up nothing. What is noted is in the journal, too."""
        try:
            self._audit.note(who, what, words)
        except AuditError as exc:
            self._trouble = str(exc)

    def _wrong(self, words: str) -> None:
        if words != self._trouble:
            log.warning("%s", words)
        self._trouble = words


def _said(offer: Offer | None) -> Said | None:
    if offer is None:
        return None
    return Said(
        version=offer.version,
        sha256=offer.bundle.sha256,
        bytes=offer.bundle.size,
        content=offer.content,
        changes=offer.changes,
        clinical=offer.clinical,
    )


def _spread(device: str, between: tuple[float, float]) -> float:
    """Of each box another number, always the same."""
    share = int.from_bytes(hashlib.sha256(device.encode()).digest()[:8], "big") / (1 << 64)
    return between[0] + share * (between[1] - between[0])
