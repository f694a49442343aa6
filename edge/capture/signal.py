"""What may be said of the picture, and what is tried when it is not well. Pure: no clock, no I/O, no pixels.

`Signal.step` takes what is known at one moment and answers with the state, whether this very picture may be looked at,
and what to do with the pipeline. TABLE is the behaviour: the first row that applies is the state. It is rendered into
docs/capture.md by `tools/states.py`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple

from edge.capture.evidence import (
    BROKEN,
    FLAP_QUIET_NS,
    FLAP_WITHIN_NS,
    FLAPS,
    FRESH,
    FROZEN_NS,
    RATE_MOST,
    RATE_SLACK,
    REFRESH_NS,
    RETRY_NS,
    STORM,
    STORM_RETRY_NS,
    STORM_WITHIN_NS,
    Layout,
    Link,
    Look,
    Memory,
    S,
    Seen,
)
from edge.types import SignalState


class Act(str, enum.Enum):
    """What to do with the pipeline."""

    NONE = "none"
    BUILD = "build"  # a new one, in place of the old one if there is any
    STOP = "stop"


class Verdict(NamedTuple):
    state: SignalState
    detail: str  # what was seen, for people
    act: Act
    usable: bool  # this very picture may go to the model
    changed: bool  # the state is another one than a step ago


def _device_gone(seen: Seen, memory: Memory) -> str:  # noqa: ARG001
    return "the capture device is not there" if seen.link is Link.GONE else ""


def _failed(seen: Seen, memory: Memory) -> str:
    return (
        f"{STORM} faults within a minute, the last: {memory.fault}"
        if memory.latched and seen.link not in BROKEN and seen.link is not Link.PROTECTED
        else ""
    )


def _no_signal(seen: Seen, memory: Memory) -> str:
    if seen.link is Link.NO_SIGNAL:
        return "the driver reports no signal"
    says_nothing_else = seen.link in (Link.UNKNOWN, Link.LOCKED)
    return _silence(seen, memory) if says_nothing_else and memory.lost_ns is not None else ""


def _silence(seen: Seen, memory: Memory) -> str:
    since_ns = memory.built_ns if memory.lost_ns is None else memory.lost_ns
    return f"no picture for {(seen.now_ns - since_ns) / S:.1f} s"


def _unstable(seen: Seen, memory: Memory) -> str:
    if seen.link is Link.UNLOCKED:
        return "the driver reports a signal without lock"
    flaps = memory.flaps
    many = len(flaps) == FLAPS and flaps[-1] - flaps[0] <= FLAP_WITHIN_NS
    return "the signal comes and goes" if many and seen.now_ns - flaps[-1] < FLAP_QUIET_NS else ""


def _unsupported(seen: Seen, memory: Memory) -> str:
    if seen.link is Link.OUT_OF_RANGE:
        return "the driver reports a format that it cannot capture"
    fast = memory.fast_since_ns is not None and seen.now_ns - memory.fast_since_ns >= S
    limit = f"the format says {seen.nominal:.0f}" if seen.nominal else f"{RATE_MOST:.0f} is the most"
    return f"{seen.rate:.0f} pictures a second come, {limit}" if fast else ""


def _protected(seen: Seen, memory: Memory) -> str:
    if seen.link is Link.PROTECTED:
        return "the driver reports a protected signal"
    return "one colour all over" if memory.lasted(seen, Look.FLAT, 3 * S) else ""


def _changed(seen: Seen, memory: Memory) -> str:  # noqa: ARG001
    return memory.changing


def _black(seen: Seen, memory: Memory) -> str:
    return "black all over" if memory.lasted(seen, Look.BLACK, S // 2) else ""


def _bars(seen: Seen, memory: Memory) -> str:
    return "colour bars" if memory.lasted(seen, Look.BARS, S // 4) else ""


def _frozen(seen: Seen, memory: Memory) -> str:
    still_ns = seen.now_ns - memory.moving_ns
    frozen = memory.look is Look.REPEATED and still_ns >= FROZEN_NS
    return f"the same picture for {still_ns / S:.1f} s" if frozen else ""


def _unknown_layout(seen: Seen, memory: Memory) -> str:
    return (seen.misfit or "no endoscopic field found") if seen.layout is Layout.UNKNOWN and memory.moving else ""


def _starting(seen: Seen, memory: Memory) -> str:
    if memory.picture_ns is None and not memory.refreshing:
        return f"begins again after: {memory.fault}" if memory.fault else "waits for its first picture"
    searching = seen.layout is Layout.SEARCHING and memory.moving and not memory.refreshing
    return "looks for the endoscope's picture in the tower's" if searching else ""


def _live(seen: Seen, memory: Memory) -> str:
    return "live" if seen.running and memory.moving >= FRESH and seen.layout is Layout.KNOWN else ""


class Row(NamedTuple):
    """One state. `when` says in words what was seen of it, or "" where it does not apply."""

    state: SignalState
    when: Callable[[Seen, Memory], str]
    means: str
    seen_by: str
    recovery: str
    hold_ns: int = 0  # it is shown for at least so long before `live` comes back


_Is = SignalState
TABLE = (
    Row(
        _Is.DEVICE_GONE,
        _device_gone,
        "The capture device is not there: unplugged, or its driver is gone.",
        "the device node is missing, or answers ENODEV",
        "it is looked for; a new pipeline when it is back",
    ),
    Row(
        _Is.FAILED,
        _failed,
        "The capture breaks again and again: the device, its driver or the configuration is at fault.",
        f"{STORM} faults within {STORM_WITHIN_NS // S} s, which ends the storm of restarts",
        f"a new pipeline every {STORM_RETRY_NS // S} s",
    ),
    Row(
        _Is.UNSTABLE,
        _unstable,
        "There is a signal, but it does not hold: look at cable and connectors.",
        f"the driver's word (ENOLCK), or {FLAPS} changes of its word within {FLAP_WITHIN_NS // S} s",
        "a new pipeline when the signal holds",
    ),
    Row(
        _Is.NO_SIGNAL,
        _no_signal,
        "No picture comes over the cable: it is unplugged, or the tower is off.",
        "the driver's word (ENOLINK, input status); where it has none, no picture for 1 s or three frame times",
        f"the driver's next word is waited for; without one a new pipeline after {RETRY_NS[0] / S:g} s, later every"
        f" {RETRY_NS[-1] // S} s, or as in `failed`",
    ),
    Row(
        _Is.UNSUPPORTED,
        _unsupported,
        "The tower sends a format that this device cannot capture: set the tower to 1080p, 60 Hz or lower.",
        f"the driver's word (ERANGE), or for 1 s more than {RATE_SLACK:g} times as many pictures as the format says",
        "a new pipeline when the format changes",
    ),
    Row(
        _Is.PROTECTED_SUSPECT,
        _protected,
        "A signal, but no picture in it: the tower's output is probably copy-protected (HDCP). Use another output.",
        "the driver's word (input status), or one colour all over for 3 s",
        "none; goes on looking at the picture",
        hold_ns=S // 2,
    ),
    Row(
        _Is.FORMAT_CHANGED,
        _changed,
        "The tower changed its resolution or frame rate, and the new picture is being set up.",
        "the driver's event, or other caps in the pipeline",
        "a new pipeline at once, never a renegotiated one",
    ),
    Row(
        _Is.BLACK,
        _black,
        "The picture is black all over: the endoscope or its processor is off.",
        "nothing in the field brighter than video black, for 0.5 s",
        "none; goes on looking at the picture",
        hold_ns=S // 4,
    ),
    Row(
        _Is.BARS,
        _bars,
        "A test picture comes in place of the endoscope's: colour bars of the tower or the grabber.",
        "four or more upright stripes, each of one colour, for 0.25 s",
        "none; goes on looking at the picture",
        hold_ns=S // 4,
    ),
    Row(
        _Is.FROZEN,
        _frozen,
        "The same picture comes again and again: somebody froze it at the tower, or a grabber shows a still.",
        "pictures that are equal to the bit, for 0.5 s",
        f"a new pipeline after {REFRESH_NS[0] // S} s, then less and less often, at last every {REFRESH_NS[-1] // S} s",
        hold_ns=S // 4,
    ),
    Row(
        _Is.UNKNOWN_LAYOUT,
        _unknown_layout,
        "It is not known which part of the picture is the endoscope's, so nothing is analysed or kept:"
        " give its corners in `capture.field`.",
        "no field that two looks agree on, for 10 s",
        "goes on looking for it",
    ),
    Row(
        _Is.STARTING,
        _starting,
        "The capture starts, or looks for the endoscope's part of the tower's picture.",
        "no picture yet, or no field yet",
        "waits for the first picture, and then as in `no_signal`",
    ),
    Row(
        _Is.LIVE,
        _live,
        "The endoscope's picture comes and is analysed.",
        f"{FRESH} pictures that differ, in a known layout",
        "",
    ),
)
"""First come, first served; where no row applies, the state stays what it is."""

_HOLD_NS = {row.state: row.hold_ns for row in TABLE}


class Signal:
    """The state machine of one live source. Owner: the thread that pulls."""

    def __init__(self, first_s: float = 2.0) -> None:
        """`first_s`: how long a new pipeline may take to its first picture."""
        self.state = SignalState.STARTING
        self.detail = ""
        self._since_ns: int | None = None
        self._memory = Memory(round(first_s * S))
        self._refreshed = 0  # pipelines that this frozen picture has had

    def step(self, seen: Seen) -> Verdict:
        memory = self._memory
        memory.see(seen)
        if seen.error and seen.link not in BROKEN:
            memory.failed(seen.now_ns, seen.error)
        state, self.detail = self._judge(seen)
        changed = state is not self.state
        if changed or self._since_ns is None:
            self.state, self._since_ns = state, seen.now_ns
        if state is SignalState.LIVE:
            self._refreshed, self.detail = 0, ""
        act = self._act(seen, seen.now_ns - max(self._since_ns, memory.built_ns))
        usable = state is SignalState.LIVE and seen.look is Look.MOVING and act is Act.NONE
        return Verdict(state, self.detail, act, usable, changed)

    def built(self, now_ns: int) -> None:
        """The pipeline that `step` asked for plays."""
        self._memory.built(now_ns)

    def _judge(self, seen: Seen) -> tuple[SignalState, str]:
        for row in TABLE:
            detail = row.when(seen, self._memory)
            if detail and not (row.state is SignalState.LIVE and self._held(seen.now_ns)):
                return row.state, detail
        return self.state, self.detail

    def _held(self, now_ns: int) -> bool:
        return self._since_ns is not None and now_ns - self._since_ns < _HOLD_NS[self.state]

    def _act(self, seen: Seen, lasted_ns: int) -> Act:
        """`lasted_ns`: how long the present state has lasted with the present pipeline."""
        memory, now_ns = self._memory, seen.now_ns
        if seen.link in BROKEN:
            memory.next_build_ns = 0  # its return is not a fault
            return Act.STOP if seen.running else Act.NONE
        if seen.error:
            return Act.STOP
        if seen.changed and seen.running:
            return Act.STOP if self.state is SignalState.UNSTABLE else Act.BUILD
        if not seen.running:
            due = now_ns >= memory.next_build_ns and self.state is not SignalState.UNSTABLE
            return Act.BUILD if due else Act.NONE
        if memory.silent(seen):
            memory.failed(now_ns, _silence(seen, memory))
            return Act.STOP
        wait_ns = REFRESH_NS[min(self._refreshed, len(REFRESH_NS) - 1)]
        if self.state is SignalState.FROZEN and lasted_ns >= wait_ns:
            self._refreshed += 1
            memory.refreshing = True
            return Act.BUILD
        return Act.NONE
