"""A simulated world for the capture state machine: a clock, a cable, a driver, a pipeline that obeys, or fails to."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.capture.evidence import BROKEN, STORM_RETRY_NS, Layout, Link, Look, S, Seen
from edge.capture.signal import Act, Signal, Verdict
from edge.types import SignalState

STEP_NS = S // 25
BACK_NS = 3 * S // 2  # from a good world to `live`


@dataclass
class World:
    """What is at the other end of the cable, and a loop that asks every STEP_NS, as `LiveSource` does."""

    knows: bool = True  # the driver says what the cable carries
    link: Link = Link.LOCKED
    content: Look | None = Look.MOVING  # of the pictures that come; None: none come
    step_ns: int = STEP_NS  # a picture comes at every step
    repeats: int = 1  # each picture comes so often
    layout: Layout = Layout.KNOWN
    builds_work: bool = True
    dies_after: int = 0  # pictures; 0: never
    rate: float = 25.0
    nominal: float = 25.0

    now_ns: int = 7 * S
    running: bool = False
    error: str = ""
    changed: str = ""
    since_build: int = 0  # pictures
    signal: Signal = field(default_factory=Signal)
    builds: list[int] = field(default_factory=list)
    history: list[tuple[int, Verdict, Seen]] = field(default_factory=list)

    def step(self) -> Verdict:
        self.now_ns += self.step_ns
        seen = self._seen()
        verdict = self.signal.step(seen)
        self.history.append((self.now_ns, verdict, seen))
        check(verdict, seen)
        assert verdict.detail or verdict.state is SignalState.LIVE, "a state without what was seen of it"
        if verdict.act is Act.STOP:
            self.running = False
        elif verdict.act is Act.BUILD:
            self._build()
        return verdict

    def _seen(self) -> Seen:
        link = self.link if self.knows else (Link.GONE if self.link is Link.GONE else Link.UNKNOWN)
        error, self.error = self.error, ""
        look = None
        if self.running and self.link not in BROKEN and self.content is not None:
            look = self._picture()
            self.since_build += 1
        if self.dies_after and self.since_build >= self.dies_after and self.running:
            error = "it died"
        if error:
            self.running = False
        changed, self.changed = (self.changed if self.running else ""), ""
        return Seen(
            now_ns=self.now_ns,
            link=link,
            running=self.running,
            look=None if changed else look,
            layout=self.layout,
            changed=changed,
            error=error,
            rate=self.rate,
            nominal=self.nominal,
        )

    def _picture(self) -> Look:
        """The first of a pipeline has none before it."""
        if self.content is Look.REPEATED and self.since_build == 0:
            return Look.MOVING
        if self.content is Look.MOVING and self.since_build % self.repeats:
            return Look.REPEATED
        assert self.content is not None
        return self.content

    def _build(self) -> None:
        self.builds.append(self.now_ns)
        self.since_build = 0
        self.running = self.builds_work
        self.error = "" if self.builds_work else "cannot be built"
        self.signal.built(self.now_ns)

    def run(self, seconds: float) -> list[SignalState]:
        """The states that began in that time."""
        begun = []
        for _ in range(round(seconds * S / self.step_ns)):
            verdict = self.step()
            if verdict.changed:
                begun.append(verdict.state)
        return begun

    def good(self) -> None:
        self.link, self.content, self.layout, self.builds_work = Link.LOCKED, Look.MOVING, Layout.KNOWN, True
        self.dies_after, self.rate, self.repeats = 0, 25.0, 1

    def until_live(self, at_most_ns: int) -> int:
        """How long it took, ns."""
        begun_ns = self.now_ns
        while self.step().state is not SignalState.LIVE:
            assert self.now_ns - begun_ns <= at_most_ns, f"still {self.signal.state.value}: {self.signal.detail}"
        return self.now_ns - begun_ns

    def until_live_or_due(self) -> None:
        """Within BACK_NS of now, or of the build that earlier faults have put off."""
        due_ns = begun_ns = self.now_ns
        while self.step().state is not SignalState.LIVE:
            due_ns = max(due_ns, self.signal._memory.next_build_ns)
            assert due_ns - begun_ns <= STORM_RETRY_NS + STEP_NS
            assert self.now_ns - due_ns <= BACK_NS, f"still {self.state.value}: {self.signal.detail}"

    @property
    def state(self) -> SignalState:
        return self.signal.state


def check(verdict: Verdict, seen: Seen) -> None:
    """What holds at every step of every world."""
    if verdict.usable:
        assert verdict.state is SignalState.LIVE
        assert seen.look is Look.MOVING
        assert seen.link in (Link.UNKNOWN, Link.LOCKED)
        assert seen.running
        assert seen.layout is Layout.KNOWN
        assert not seen.error
        assert not seen.changed
        assert verdict.act is Act.NONE
    if verdict.state is SignalState.LIVE:
        assert verdict.detail == ""
        assert seen.running, "live, and nothing runs"
    assert len(verdict.detail) < 200
    if seen.link in BROKEN:
        assert verdict.state is not SignalState.LIVE
        assert verdict.act is (Act.STOP if seen.running else Act.NONE)


def live(**world: object) -> World:
    made = World(**world)  # type: ignore[arg-type]
    made.until_live(BACK_NS)
    made.run(0.5)
    assert made.state is SignalState.LIVE
    return made
