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
_OTA_HEAD = """# Updates on the twin: from release to release, with the power going and the machine hanging
Written by `tools/twin.sh ota --report docs/twin-ota.md`; not by hand.

The twin (`docs/twin.md`) with a disk that is kept, the system's part of updates as tools/install.sh lays it down, RAUC,
its bus and the updater under their own units, and a core that is live on the `vivid` driver. The publisher is on the
machine outside: keys made for the occasion, signed bundles, a TUF repository on a web server or on a USB stick (FAT).
Releases are squashfs images that run this checkout; `--release FILE.img` adds a whole one. A person's
`endoedge update install VERSION` is the consent. The gate asks for 10 s of health and a self-test, a trial has 180 s,
and the watchdog 10 s.

`ota_killed` ends QEMU with SIGKILL and starts it again on the same disk: what the guest had not yet given to its disk
is lost, and no more than that; a disk that loses what it was given is `tools/faults.sh`'s. Six of ten cuts come within
3 s of the begin of a state of the updater, chosen at random, two of ten in a boot, the others at any time. What runs is
read in the guest: the core's own version, and the sha256 of the image in the slot, which has to be that of the image
that was signed. Seconds of `ota_killed` are of the machine outside, all others of the guest.

```
tools/twin.sh ota [--times 30] [--seed 1] [--release OUT/endoedge-1.2.0.img] --report docs/twin-ota.md
tools/twin.sh run ota_http
```
"""
_EMULATED = """
The processor was emulated (TCG), which makes everything that computes 10 to 50 times slower than a box; the driver's
frame rate, and so every time below, suffers from it. They are upper bounds, not figures of a box.
"""


def page(played: Session, emulated: bool) -> str:
    return _page(_HEAD, played, emulated)


def ota_page(played: Session, emulated: bool) -> str:
    return _page(_OTA_HEAD, played, emulated)


def _page(head: str, played: Session, emulated: bool) -> str:
    good = sum(not one.problem for one in played.results)
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    lines = [head + (_EMULATED if emulated else "")]
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
