"""What may be done now with what is offered. Pure: no clock, no file; the reasons are for people.

`download` fetches, `install` writes the slot that does not run, `switch` stops the old release and starts the new one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta
from packaging.version import Version

from edge.types import Struct
from edge.update.offer import Digest, Name, Offer

Step = Literal["download", "install", "switch"]
_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_SPACE = 1 << 53  # a rollout's resolution


class Rules(Struct, frozen=True, kw_only=True):
    """`[update]`: the site's."""

    channel: Name = "stable"
    consent: bool = True  # a person agrees to each release; false: the site has agreed for all
    window: Annotated[str, Meta(pattern=r"^(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?$(?!\n)")] = ""
    """In which a switch may take place, in the box's own time: "22:00-05:00"; empty: at any time."""
    hottest_c: Annotated[float, Meta(ge=40, le=105)] = 85.0
    spare_mib: Annotated[int, Meta(ge=0, le=1 << 20)] = 512  # left free beside the bundle


class Box(Struct, frozen=True, kw_only=True):
    """What does not change while an offer is looked at."""

    device: str
    hardware: str  # RAUC's `compatible`
    version: str  # that runs
    system: int = 1  # what tools/install.sh laid down beside the releases
    refused: frozenset[Digest] = frozenset()  # bundles that were tried here and did not hold
    agreed: frozenset[Digest] = (
        frozenset()
    )  # bundles that a person at this box has agreed to; they need not wait for a share


class Moment(Struct, frozen=True, kw_only=True):
    """How things are now. None: it cannot be known here."""

    procedure: bool | None  # one is going on
    free_bytes: int  # where bundles are put
    slot_bytes: int | None = None  # what the slot that does not run may grow to, where it is a file
    mains: bool | None = None  # False: on a battery
    temperature_c: float | None = None  # the hottest
    throttled: bool = False
    minute: int | None = None  # of the day, in the box's own time; None: its clock is not trusted


class Against(Struct, frozen=True, kw_only=True):
    """A reason why not. `waits`: it may pass by itself or by a person; otherwise this offer is not for this box."""

    code: str
    words: str
    waits: bool = True


def against(step: Step, offer: Offer, box: Box, moment: Moment, rules: Rules) -> tuple[Against, ...]:
    """All that speaks against this step. Empty: go ahead."""
    found = [*_not_for_this_box(offer, box, rules)]
    if step == "download":
        found += _disk(offer, moment, rules)
    else:
        found += _agreement(offer, box, rules)
        found += _procedure(moment)
        found += _power_and_heat(moment, rules)
    if step == "install":
        found += _slot(offer, moment)
    if step == "switch":
        found += _hour(moment, rules)
    return tuple(found)


def chosen(device: str, version: str, share: float) -> bool:
    """Whether this box is among the share that gets a release first: others for each version, and never fewer when
    the share grows."""
    digest = hashlib.sha256(f"{version}\n{device}".encode()).digest()
    return int.from_bytes(digest, "big") * _SPACE >> 256 < share * _SPACE


def _not_for_this_box(offer: Offer, box: Box, rules: Rules) -> Iterator[Against]:
    running, offered = Version(box.version), offer.number
    if offer.channel != rules.channel:
        yield Against(code="channel", words=f"it is of channel {offer.channel}, not {rules.channel}", waits=False)
    if box.hardware not in offer.hardware:
        words = f"it is for {', '.join(offer.hardware)}; this box is {box.hardware}"
        yield Against(code="hardware", words=words, waits=False)
    if offered == running:
        yield Against(code="runs", words=f"version {offer.version} runs", waits=False)
    elif offered < running and running not in map(Version, offer.may_replace):
        words = f"it is older than {box.version}, which runs, and not signed as a way back from it"
        yield Against(code="older", words=words, waits=False)
    if running < Version(offer.at_least):
        words = f"version {offer.at_least} has to run first; this box has {box.version}"
        yield Against(code="too_far", words=words, waits=False)
    if box.system < offer.system:
        words = f"it needs system part {offer.system}, and this box has {box.system}: tools/install.sh of that version"
        yield Against(code="system", words=words, waits=False)
    if offer.bundle.sha256 in box.refused:
        words = "it was tried here and did not hold; the next version is awaited, or a person's word"
        yield Against(code="refused", words=words)
    if offer.bundle.sha256 not in box.agreed and not chosen(box.device, offer.version, offer.share):
        words = f"it is given to {offer.share:.0%} of the boxes so far, and this one is not among them"
        yield Against(code="share", words=words)


def _slot(offer: Offer, moment: Moment) -> Iterator[Against]:
    """A release in its bundle is packed as it is in its slot."""
    if moment.slot_bytes is not None and moment.slot_bytes < offer.bundle.size:
        words = f"its slot may grow to {moment.slot_bytes >> 20} MiB, and it takes {(offer.bundle.size - 1 >> 20) + 1}"
        yield Against(code="slot", words=words)


def _disk(offer: Offer, moment: Moment, rules: Rules) -> Iterator[Against]:
    needed = offer.bundle.size + (rules.spare_mib << 20)
    if moment.free_bytes < needed:
        words = f"{moment.free_bytes >> 20} MiB are free, and {(needed - 1 >> 20) + 1} are needed"
        yield Against(code="disk", words=words)


def _agreement(offer: Offer, box: Box, rules: Rules) -> Iterator[Against]:
    if (offer.consent or rules.consent) and offer.bundle.sha256 not in box.agreed:
        yield Against(code="consent", words=f"nobody has agreed to it: endoedge update install {offer.version}")


def _procedure(moment: Moment) -> Iterator[Against]:
    if moment.procedure is None:
        yield Against(code="procedure", words="whether a procedure is going on cannot be known just now")
    elif moment.procedure:
        yield Against(code="procedure", words="a procedure is going on")


def _power_and_heat(moment: Moment, rules: Rules) -> Iterator[Against]:
    if moment.mains is False:
        yield Against(code="power", words="the box is on its battery")
    if moment.throttled:
        yield Against(code="heat", words="the box is slowed down by its heat or its power supply")
    elif moment.temperature_c is not None and moment.temperature_c > rules.hottest_c:
        words = f"it is {moment.temperature_c:.0f} °C hot inside, at most {rules.hottest_c:.0f} are allowed"
        yield Against(code="heat", words=words)


def _hour(moment: Moment, rules: Rules) -> Iterator[Against]:
    if not rules.window:
        return
    if moment.minute is None:
        yield Against(code="window", words=f"the hour is not known, and {rules.window} is when it may take place")
    elif not within(rules.window, moment.minute):
        yield Against(code="window", words=f"it may take place at {rules.window}")


def within(window: str, minute: int) -> bool:
    """`minute` of the day, 0..1439. The end is not part of it; it may go over midnight; 00:00-00:00 is all day."""
    found = _WINDOW.fullmatch(window)
    if found is None:
        raise ValueError(window)
    begins, ends = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    return begins <= minute < ends if begins < ends else minute >= begins or minute < ends
