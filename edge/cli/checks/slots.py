"""A Jetson's two slots of root file system and firmware: looked at, and what is wrong with the way to mend it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from edge.board import jetson_slots
from edge.board.jetson_slots import Slots
from edge.cli.checks.trying import NotTriedError
from edge.console.report import Row

WHAT = "boot slots"
_WITHIN_S = 5.0
Ask = Callable[[Sequence[str]], str]


def row(root: Path = Path("/"), jetson: bool = False, ask: Ask | None = None) -> Row:
    """One row, with what has to be mended, and how."""
    try:
        slots = read(root, jetson, ask or nvbootctrl)
    except NotTriedError as exc:
        return Row(WHAT, None, f"not tried: {exc}")
    found = jetson_slots.findings(slots)
    bad = [finding for finding in found if finding.bad]
    words = [*([] if bad else [_running(slots)]), *(finding.words for finding in bad or found)]
    return Row(WHAT, not bad, "; ".join(words), "; ".join(dict.fromkeys(finding.mend for finding in bad or found)))


def read(root: Path, jetson: bool, ask: Ask) -> Slots:
    """Raises NotTriedError: this is none, or neither firmware nor nvbootctrl says anything to us."""
    if not jetson:
        raise NotTriedError("not a Jetson")
    rootfs = jetson_slots.dump(ask(["-t", "rootfs", "dump-slots-info"]))
    firmware = jetson_slots.dump(ask(["dump-slots-info"]))
    variables = jetson_slots.variables(root)
    if rootfs is None and firmware is None and not variables:
        raise NotTriedError("neither nvbootctrl (as root) nor the firmware's variables can be read here")
    return Slots(rootfs=rootfs, firmware=firmware, variables=variables, second_root=jetson_slots.second_root(root))


def nvbootctrl(words: Sequence[str]) -> str:
    """What it printed, whatever its exit code; "" when it is not there. It wants root."""
    try:
        done = subprocess.run(
            ["nvbootctrl", *words], capture_output=True, text=True, errors="replace", timeout=_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _running(slots: Slots) -> str:
    told = ", ".join(
        f"{slot.name} {slot.status}" + ("" if slot.left is None else f", {slot.left} tries left")
        for slot in jetson_slots.rootfs_slots(slots)
    )
    version = f", firmware {slots.firmware.version}" if slots.firmware and slots.firmware.version else ""
    return f"{jetson_slots.current(slots) or 'a slot'} runs{version}; root file systems: {told or 'one'}"
