"""Where an update stands, and what may follow. Pure, and whole in one file of some hundred bytes that is replaced.

`FOLLOWS` has every state and what leads out of it. What a crash left is read from what the slots say (`settle`), not
guessed: the slots are the truth about what runs, this is what was meant by it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from edge.durable import write_atomically
from edge.errors import UpdateError
from edge.types import Struct
from edge.update.offer import Digest, Offer
from edge.updating import State

log = logging.getLogger(__name__)

Event = Literal[
    "offered",  # the channel has another release
    "withdrawn",  # ... and has not, any more
    "download",
    "fetched",
    "install",
    "installed",
    "broke",  # what was going on could not be done; it can be tried again
    "switch",
    "began",  # the release runs, on trial
    "held",
    "failed",  # it is not as it should be, or a person wants back
    "returned",  # another one runs than the one that was to
]
FOLLOWS: dict[State, dict[Event, State]] = {
    "idle": {"offered": "offered", "failed": "going_back"},
    "offered": {"offered": "offered", "withdrawn": "idle", "download": "downloading", "failed": "going_back"},
    "downloading": {"fetched": "fetched", "broke": "offered"},
    "fetched": {
        "offered": "offered",
        "withdrawn": "idle",
        "install": "installing",
        "broke": "offered",
        "failed": "going_back",
    },
    "installing": {"installed": "installed", "broke": "fetched"},
    "installed": {"offered": "offered", "withdrawn": "idle", "switch": "switching", "failed": "going_back"},
    "switching": {"began": "trying", "broke": "installed", "returned": "idle"},
    "trying": {"held": "idle", "failed": "going_back", "returned": "idle"},
    "going_back": {"returned": "idle"},
}
TRIALS = 3  # that a release may fail before it is refused
REFUSED_MOST, AGREED_MOST = 16, 16  # the newest are remembered


class Refusal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    sha256: Digest
    version: str
    why: str


class Health(Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """How the release before did: what the next one is held against."""

    live: bool = False
    fps: float = 0.0
    p99_ms: float = 0.0  # of the slowest stage
    connected: bool = False  # to the broker


class Memory(Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """`state.json`. Written by one release and read by another: keys that are not known are passed over."""

    state: State = "idle"
    offer: Offer | None = None  # what all of this is about
    base: str = ""  # where its bundle is: the repository's address, or a stick's folder
    target: str = ""  # the slot that it was written to; while going back: the one to get away from
    trials: int = 0  # the slots' own count of them when this one was asked for
    before: Health = Health()
    checked_at: str = ""  # when the channel was last seen; RFC 3339, UTC
    checked_bytes: int = 0  # that it cost
    why: str = ""  # it goes back, or went back last time
    certain: bool = False  # ... and would again
    agreed: tuple[Digest, ...] = ()  # bundles that a person here has agreed to
    wanted: tuple[Digest, ...] = ()  # ... or asked to be fetched, though it may not be their turn
    failures: dict[str, int] = msgspec.field(default_factory=dict)  # bundle → trials that did not hold
    refused: tuple[Refusal, ...] = ()
    inside: dict[str, Offer] = msgspec.field(default_factory=dict)  # slot → what was written there


class Slots(NamedTuple):
    """What the system says (`slot.py`)."""

    booted: str  # A, B; F: what was installed first
    trial: str = ""  # the slot on trial
    trials: int = 0  # begun so far
    good: frozenset[str] = frozenset()
    why: str = ""  # the last trial did not hold


def after(memory: Memory, event: Event, **changes: object) -> Memory:
    """ValueError: that cannot happen in this state."""
    follows = FOLLOWS[memory.state].get(event)
    if follows is None:
        raise ValueError(f"{event} while {memory.state}")
    return replace(memory, state=follows, **changes)


def settle(memory: Memory, slots: Slots) -> Memory:
    """What is so after a start, a crash or a switch. Says the same again when asked again."""
    if slots.trial and slots.booted == slots.trial:
        if memory.state == "going_back":
            return replace(memory, target=slots.trial)
        offer = memory.inside.get(slots.trial, memory.offer)
        return replace(memory, state="trying", target=slots.trial, offer=offer, trials=slots.trials)
    if slots.trial:  # begun, and not carried out yet: when it is over, it was one more than before
        return replace(memory, state="switching", target=slots.trial, trials=slots.trials - 1)
    if memory.state == "installing":
        return replace(memory, state="fetched")
    if memory.state == "switching" and slots.trials <= memory.trials:
        return replace(memory, state="installed")  # it was never asked for
    if memory.state not in ("switching", "trying", "going_back"):
        return memory
    if slots.booted != memory.target:
        return returned(memory, slots.why)
    return memory if memory.state == "going_back" else held(memory)


def held(memory: Memory) -> Memory:
    """The release on trial is the one that runs from now on."""
    digest = memory.offer.bundle.sha256 if memory.offer else ""
    failures = {name: count for name, count in memory.failures.items() if name != digest}
    return replace(memory, state="idle", offer=None, target="", why="", certain=False, failures=failures)


def returned(memory: Memory, why: str = "") -> Memory:
    """Another one runs. A release that certainly does not hold is refused at once, others at the third time."""
    gone = memory.inside.get(memory.target, memory.offer)
    why = memory.why or why or "it was left for an unknown reason"
    failures, refused = dict(memory.failures), memory.refused
    if gone is not None:
        digest = gone.bundle.sha256
        failures[digest] = failures.get(digest, 0) + 1
        if memory.certain or failures[digest] >= TRIALS:
            refused = refuse(memory, gone, why).refused
            del failures[digest]
    return replace(
        memory, state="idle", offer=None, target="", why=why, certain=False, failures=failures, refused=refused
    )


def refuse(memory: Memory, offer: Offer, why: str) -> Memory:
    others = [one for one in memory.refused if one.sha256 != offer.bundle.sha256]
    made = Refusal(sha256=offer.bundle.sha256, version=offer.version, why=why[:300])
    return replace(memory, refused=(*others, made)[-REFUSED_MOST:])


def agree(memory: Memory, digest: Digest) -> Memory:
    """A person agrees to it, also to one that was refused."""
    return replace(
        memory,
        agreed=(*(one for one in memory.agreed if one != digest), digest)[-AGREED_MOST:],
        refused=tuple(one for one in memory.refused if one.sha256 != digest),
        failures={name: count for name, count in memory.failures.items() if name != digest},
    )


def want(memory: Memory, digest: Digest) -> Memory:
    return replace(memory, wanted=(*(one for one in memory.wanted if one != digest), digest)[-AGREED_MOST:])


# ---------------------------------------------------------------------------------------------------- the file


def load(path: Path) -> Memory:
    """What is not understood is said, and is no update: the slots say what runs. Raises UpdateError: no permission."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Memory)
    except FileNotFoundError:
        return Memory()
    except msgspec.DecodeError as exc:
        log.error("%s: not understood, begun anew: %s", path, exc)
        return Memory()
    except OSError as exc:
        raise UpdateError(f"{path}: cannot be read: {exc.strerror}") from exc


def save(path: Path, memory: Memory) -> None:
    """On the disk when it returns. Raises UpdateError: nothing was changed."""
    try:
        write_atomically(path, msgspec.json.encode(memory))
    except OSError as exc:
        raise UpdateError(f"{path}: cannot be written: {exc.strerror}") from exc
