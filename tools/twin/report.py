"""docs/twin.md: what was played, and what was measured."""

from __future__ import annotations

from datetime import datetime, timezone

from tools.twin.session import Session

_HEAD = """# The twin: what was played on a real HDMI driver
Written by `tools/twin.sh test --report docs/twin.md`; not by hand.

The twin is a virtual machine (QEMU) with Debian 12, Linux's `vivid` driver as the tower's HDMI cable, this checkout as
the box's software under its own systemd units, mosquitto, and a subscriber. A scenario does something to the cable, the
driver or a process, and asserts what the box says: the order of states, when the picture is back, that no frame went to
the model while the state was not `live`, that the same process went on. Times are the guest's own monotonic clock, from
the ioctl that changed the cable to the `captured_ns` of the box's event.

```
tools/twin.sh build            # the machine's disk, from Debian's packages (once, as root; some 2 GB)
tools/twin.sh run SCENARIO     # by name: tools/twin/scenarios/
tools/twin.sh test --report docs/twin.md   # all of them, and this page
tools/twin.sh shell            # a root shell on its console
```
"""
_EMULATED = """
The processor was emulated (TCG), which makes everything that computes 10 to 50 times slower than a box; the driver's
frame rate, and so every time below, suffers from it. They are upper bounds, not figures of a box.
"""


def page(played: Session, emulated: bool) -> str:
    good = sum(not one.problem for one in played.results)
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    lines = [_HEAD + (_EMULATED if emulated else "")]
    lines.append(f"**{good} of {len(played.results)} held**, {when}, Linux {played.kernel} in the guest;")
    lines.append(f"{played.boots} boot(s), {played.boot_s:.0f} s to a box.\n")
    lines += ["| scenario | proves | held | seconds | measured |", "|---|---|---|---|---|"]
    for one in played.results:
        measured = "; ".join(f"{name} **{value:g}**" for name, value in one.measured.items())
        held = "yes" if not one.problem else f"**no**: {_cell(one.problem)}"
        lines.append(f"| `{one.scenario}` | {_cell(one.proves)} | {held} | {one.seconds:.0f} | {measured} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
