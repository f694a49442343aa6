"""The two slots of a Jetson's root file system and firmware, as the firmware keeps them: read, never written.

NVIDIA's L4TLauncher (edk2-nvidia, L4TRootfsValidation.c) tries the current slot, counts its tries in a scratch register
that a power cut clears, and writes 0xFF into the slot's variable when none is left. Nothing takes that back by itself.
docs/jetson-update.md has what to do; no device has confirmed any of it.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import msgspec

from edge.types import Struct

GUID = "781e084c-a330-417c-b678-38e696380cb9"
VARIABLES = Path("sys/firmware/efi/efivars")
SECOND_ROOT = Path("dev/disk/by-partlabel/APP_b")
NAMES = (
    "BootChainFwCurrent",
    "BootChainFwNext",
    "BootChainFwStatus",
    "RootfsRedundancyLevel",
    "RootfsRetryCountMax",
    "RootfsStatusSlotA",
    "RootfsStatusSlotB",
)
"""Tries that are left have no variable in NVIDIA's firmware: `nvbootctrl` tells them out of the register."""

_SIZE, _ATTRIBUTES = 8, 4  # bytes of a variable's file: attributes, then the value, both little endian
_NORMAL, _UNBOOTABLE = 0x00, 0xFF
_SLOT = re.compile(r"slot: *([01]),(?: *retry_count: *([0-9]+),)? *status: *(\w+)")
_HEAD = re.compile(r"(Current|Active) (rootfs|bootloader) slot: *([AB])\b")
_NOT_ENABLED = "rootfs a/b is not enabled"
_CAPSULE = {2: "a capsule was written, and the firmware in it did not start", 3: "a capsule was not written"}
_CHAIN = {
    0: "it was switched",
    1: "a switch is under way",
    2: "nothing was to be switched",
    3: "cancelled, for a capsule was there as well",
    5: "the most restarts are used up",
    9: "there is no such chain",
    12: "the other chain did not start",
    14: "BootNext was set as well",
    17: "the boot configuration is to be updated first",
    19: "the other chain is marked as failed",
}


class Slot(Struct, frozen=True, kw_only=True):
    """`left`: tries; None where nobody can say, or the slot has none (firmware)."""

    name: str  # A, B
    status: str  # normal, unbootable, or a word or number of a firmware that we do not know
    left: int | None = None


class Dump(Struct, frozen=True, kw_only=True):
    """What one `nvbootctrl [-t rootfs] dump-slots-info` printed. `slots` empty: it has only one root file system."""

    kind: str  # rootfs, bootloader
    current: str = ""
    active: str = ""  # that the next start takes
    version: str = ""  # of the firmware, with the bootloader's
    capsule: int | None = None
    slots: tuple[Slot, ...] = ()


class Finding(Struct, frozen=True, kw_only=True):
    """`bad`: an update of the root file system or the firmware fails, or the machine may not start, until it is
    mended. Otherwise something to know."""

    code: str
    words: str
    mend: str
    bad: bool = True


class Slots(Struct, frozen=True, kw_only=True):
    """All that was to be had. `variables`: by name, those that are there."""

    rootfs: Dump | None = None
    firmware: Dump | None = None
    variables: dict[str, int] = msgspec.field(default_factory=dict)
    second_root: bool = False  # there is a partition APP_b


def dump(text: str) -> Dump | None:
    """None: not what nvbootctrl prints. It may end with code 1 and have printed all of it."""
    if _NOT_ENABLED in text.lower():
        return Dump(kind="rootfs")
    heads = {(which, kind): slot for which, kind, slot in _HEAD.findall(text)}
    kinds = {kind for _, kind in heads}
    if len(kinds) != 1:
        return None
    kind = kinds.pop()
    version = re.search(r"^\s*Current version: *([0-9.]+)\s*$", text, re.MULTILINE)
    capsule = re.search(r"^\s*Capsule update status: *([0-9]{1,3})\s*$", text, re.MULTILINE)
    return Dump(
        kind=kind,
        current=heads.get(("Current", kind), ""),
        active=heads.get(("Active", kind), ""),
        version=version[1] if version else "",
        capsule=int(capsule[1]) if capsule else None,
        slots=tuple(
            Slot(name="AB"[int(number)], left=int(left) if left else None, status=status)
            for number, left, status in _SLOT.findall(text)
        ),
    )


def value(content: bytes) -> int | None:
    """Of a variable's file. None: it has another size than NVIDIA's have."""
    return int.from_bytes(content[_ATTRIBUTES:], "little") if len(content) == _SIZE else None


def variables(root: Path = Path("/")) -> dict[str, int]:
    """Those that are there and can be read."""
    found = {}
    for name in NAMES:
        with contextlib.suppress(OSError):
            read = value(_read(root / VARIABLES / f"{name}-{GUID}"))
            if read is not None:
                found[name] = read
    return found


def second_root(root: Path = Path("/")) -> bool:
    return os.path.lexists(root / SECOND_ROOT)


def rootfs_slots(slots: Slots) -> tuple[Slot, ...]:
    """nvbootctrl's, or without it what the variables say."""
    if slots.rootfs and slots.rootfs.slots:
        return slots.rootfs.slots
    words = {_NORMAL: "normal", _UNBOOTABLE: "unbootable"}
    told = {name: slots.variables.get(f"RootfsStatusSlot{name}") for name in "AB"}
    return tuple(
        Slot(name=name, status=words.get(status, f"0x{status:X}"))
        for name, status in told.items()
        if status is not None
    )


def current(slots: Slots) -> str:
    """The slot that runs; "" when nobody says."""
    for told in (slots.rootfs, slots.firmware):
        if told and told.current:
            return told.current
    chain = slots.variables.get("BootChainFwCurrent")
    return "AB"[chain] if chain in (0, 1) else ""


def redundant(slots: Slots) -> bool | None:
    """Whether the firmware knows of two root file systems; None: nobody says."""
    if slots.variables:
        return slots.variables.get("RootfsRedundancyLevel") == 1  # one that is not there is as good as 0
    return bool(slots.rootfs.slots) if slots.rootfs else None


def findings(slots: Slots) -> tuple[Finding, ...]:
    return (*_redundancy(slots), *_rootfs(slots), *_firmware(slots), *_switch(slots))


def _redundancy(slots: Slots) -> list[Finding]:
    if redundant(slots) is not False:
        return []
    words = "the firmware knows of one root file system (RootfsRedundancyLevel is not 1)"
    if not slots.second_root:
        return [Finding(code="one_root", words=words, mend="flash with ROOTFS_AB=1 if it is to have two", bad=False)]
    words += (
        ", and there is a second, APP_b: `nvbootctrl -t rootfs set-active-boot-slot` does nothing, and says nothing"
    )
    return [Finding(code="not_redundant", words=words, mend="flash with ROOTFS_AB=1: the running system cannot set it")]


def _rootfs(slots: Slots) -> list[Finding]:
    found, here, most = [], current(slots), slots.variables.get("RootfsRetryCountMax", 3)
    two = redundant(slots) is not False
    for slot in rootfs_slots(slots):
        if slot.name == "B" and not two:
            continue  # the firmware never looks at it
        if slot.status == "unbootable":
            words = (
                f"root file system {slot.name} is unbootable (0xFF): it is never tried again, whatever is written to it"
            )
            found.append(Finding(code="unbootable", words=words, mend=_normal(slot.name)))
        elif slot.status != "normal":
            words = f"root file system {slot.name} has the status {slot.status}, which NVIDIA's firmware does not know"
            found.append(Finding(code="unknown_status", words=words, mend="docs/jetson-update.md"))
        elif slot.left == 0:
            words = f"root file system {slot.name} has no try left: the next start that takes it makes it unbootable"
            found.append(Finding(code="no_tries", words=words, mend=_verify(slot.name == here)))
        elif slot.name == here and slot.left is not None and slot.left < most:
            words = f"root file system {slot.name} runs, {slot.left} of {most} tries left: nobody confirmed the start"
            found.append(Finding(code="unconfirmed", words=words, mend=_verify(True)))
    return found


def _firmware(slots: Slots) -> list[Finding]:
    told, found = slots.firmware, []
    if told is None:
        return []
    for slot in told.slots:
        if slot.status != "normal":
            words = f"firmware {slot.name} is {slot.status}: nothing is left to fall back on"
            found.append(Finding(code="firmware", words=words, mend="write it with a capsule: docs/jetson-update.md"))
    if told.capsule in _CAPSULE:
        mend = "docs/jetson-update.md; /sys/firmware/efi/esrt/entries/entry0/last_attempt_status has the reason"
        found.append(Finding(code="capsule", words=f"the last update: {_CAPSULE[told.capsule]}", mend=mend))
    return found


def _switch(slots: Slots) -> list[Finding]:
    found, rootfs, firmware = [], slots.rootfs, slots.firmware
    status = slots.variables.get("BootChainFwStatus")
    if status is not None:
        words = (
            f"BootChainFwStatus is {status} ({_CHAIN.get(status, 'an error')}): while it is there, capsules are refused"
        )
        mend = "`nvbootctrl verify`, then look again; docs/jetson-update.md"
        found.append(Finding(code="switch_left", words=words, mend=mend, bad=status > 1))
    for told in (rootfs, firmware):
        if told and told.active != told.current:
            words = f"the next start takes {told.active} for the {told.kind}; {told.current} runs"
            found.append(Finding(code="to_be_switched", words=words, mend="restart when it suits", bad=False))
    if rootfs and firmware and rootfs.current and firmware.current and rootfs.current != firmware.current:
        words = f"root file system {rootfs.current} runs on firmware {firmware.current}: the firmware pairs them"
        found.append(Finding(code="crossed", words=words, mend="docs/jetson-update.md"))
    return found


def _normal(name: str) -> str:
    file = f"/{VARIABLES}/RootfsStatusSlot{name}-{GUID}"
    write = rf"printf '\x07\x00\x00\x00\x00\x00\x00\x00' > {file}"
    return f"write that slot whole, then as root: chattr -i {file}; {write}; and a power cycle"


def _verify(here: bool) -> str:
    if here:
        return "`nvbootctrl verify` as root; why did nv_update_verifier or nv-l4t-bootloader-config not do it?"
    return "a power cycle gives its tries back"


def _read(path: Path) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(file, _SIZE + 1)
    finally:
        os.close(file)
