#!/usr/bin/python3 -EsB
"""Which release runs. Outside of every release, so that none can break it: the standard library alone.

    slot up | down | ready        # endoedge-slot.service: starts, stops, reload: verified and mounted before the stop
    slot switch                   # endoedge-switch.service: the orders of the updater and of `watch`
    slot watch                    # endoedge-trial.service: the system's own eye on a trial
    slot start                    # prints the slot to be started, and counts that start when it is on trial
    slot hold | slot back WHY     # a trial's two ends
    slot get-primary | set-primary SLOT | get-state SLOT | set-state SLOT good|bad   # RAUC's custom bootloader backend

Slots are A and B, a squashfs each; F is the factory's, the folder that tools/install.sh laid down, always good and
never on trial. What is known of them is one small file (`boot.json`), replaced as a whole; a start after any crash
reads the state before or after a step. RAUC writes a slot after `set-state SLOT bad`; `set-primary SLOT` begins its
trial. A slot on trial is started STARTS times at most; then, or at `back`, the one before is, and the one on trial is
bad until written anew; `why` tells what became of it until the next trial begins or holds.

What others read, in /run/endoedge-slots:
    booted    A, B or F, and a line end
    trial     only on trial: {"slot": "B", "start": 1, "starts": 3, "began_s": 71.2, "until_s": 371.2}; CLOCK_BOOTTIME
    current   a link to the release that runs
    rauc.env  which slot RAUC must not write
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

try:
    import slot_image as image  # type: ignore[import-not-found]  # beside this program, on a box
except ImportError:
    from edge.update import slot_image as image  # in the repository's tests

SLOTS = ("A", "B")
FACTORY = "F"
STARTS = 3
ROOT = Path(os.environ.get("ENDOEDGE_ROOT", "/"))  # another one: for tests
STORE, RUN = ROOT / "var/lib/endoedge-slots", ROOT / "run/endoedge-slots"
FILE = Path(os.environ.get("ENDOEDGE_BOOT", STORE / "boot.json"))
AS_INSTALLED = ROOT / "opt/endoedge/current"
ORDERS = ROOT / "run/endoedge-update"
SLOT, CORE, SAFE, SELFTEST, SWITCH = (
    f"endoedge-{name}.service" for name in ("slot", "core", "safe", "selftest", "switch")
)
TRIAL_S = float(os.environ.get("ENDOEDGE_TRIAL_S", "300"))
_LOOK_S = 1.0


class Boot(NamedTuple):
    """`primary`: runs, or ran last, and held. `trial`: to be started instead, `left` times more. `why`: what became of
    the last trial, or of an image; empty when it held. `trials`: begun so far."""

    primary: str = FACTORY
    good: frozenset[str] = frozenset()
    trial: str = ""
    left: int = 0
    why: str = ""
    trials: int = 0


Step = Callable[[Boot], "tuple[Boot, str]"]


class RefusedError(Exception):
    """What was asked for makes no sense now; nothing was changed."""


def start(boot: Boot) -> tuple[Boot, str]:
    """Which slot is to be started, and the state to be kept before it is."""
    if boot.trial and not boot.left:
        boot = back(boot, f"it was started {STARTS} times and did not hold")
    if boot.trial:
        return boot._replace(left=boot.left - 1), boot.trial
    if boot.primary == FACTORY or boot.primary in boot.good:
        return boot, boot.primary
    other = next((slot for slot in SLOTS if slot in boot.good), FACTORY)
    return boot._replace(primary=other), other


def try_out(boot: Boot, slot: str) -> Boot:
    """The primary itself: no trial, and none goes on."""
    if slot == boot.primary:
        return boot._replace(trial="", left=0)
    return boot._replace(trial=slot, left=STARTS, why="", trials=boot.trials + 1)


def hold(boot: Boot) -> Boot:
    if not boot.trial:
        raise RefusedError("nothing is on trial")
    if boot.left == STARTS:
        raise RefusedError(f"{boot.trial} is to be tried and was not started yet")
    return Boot(primary=boot.trial, good=boot.good | {boot.trial}, trials=boot.trials)


def back(boot: Boot, why: str) -> Boot:
    if not boot.trial:
        raise RefusedError("nothing is on trial")
    return boot._replace(good=boot.good - {boot.trial}, trial="", left=0, why=why)


def spoil(boot: Boot, slot: str, why: str) -> Boot:
    """Bad until written anew; when it is on trial, that is over."""
    return back(boot, why) if slot == boot.trial else boot._replace(good=boot.good - {slot}, why=why)


def mark(boot: Boot, slot: str, state: str) -> Boot:
    if state == "good":
        return hold(boot) if slot == boot.trial else boot._replace(good=boot.good | {slot})
    if slot in (boot.trial, boot.primary):
        return spoil(boot, slot, "it was marked bad")
    return boot._replace(good=boot.good - {slot})  # RAUC is about to write it: no news of the last trial


# ---------------------------------------------------------------------------------------------------- the file


def read(file: Path) -> Boot:
    """A file that is not there, or damaged, is the state of a box that was just installed: F runs, A and B are bad."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        boot = Boot(**{**found, "good": frozenset(found["good"])})
        known = boot.primary in (FACTORY, *SLOTS) and boot.trial in ("", *SLOTS) and boot.good <= set(SLOTS)
    except FileNotFoundError:
        return Boot()
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as exc:
        say(f"{file}: {exc!r}: as after an installation: {FACTORY}")
        return Boot()
    typed = type(boot.left) is type(boot.trials) is int and isinstance(boot.why, str)
    if not (known and typed and boot.trial != boot.primary and 0 <= boot.left <= STARTS):
        say(f"{file}: makes no sense: as after an installation: {FACTORY}")
        return Boot()
    return boot


def write(file: Path, boot: Boot) -> None:
    """On the disk when it returns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(number, "w", encoding="utf-8") as scratch:
            json.dump({**boot._asdict(), "good": sorted(boot.good)}, scratch)
            scratch.flush()
            os.fchmod(scratch.fileno(), 0o644)
            os.fsync(scratch.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def change(step: Step) -> tuple[Boot, str]:
    """One at a time: RAUC, `watch` and a start may meet. OSError: it could not be kept."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    with open(FILE.parent / ".boot.lock", "w") as lock:  # noqa: PTH123
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = read(FILE)
        boot, said = step(before)
        if boot != before:
            write(FILE, boot)
    return boot, said


# ------------------------------------------------------------------------------------------------ what systemd runs


def up() -> int:
    """Raises OSError: not even the factory's release can be started."""
    RUN.mkdir(parents=True, exist_ok=True)
    boot, slot, _ = _first_whole(_kept)
    folder = (AS_INSTALLED if slot == FACTORY else RUN / slot).resolve(strict=True)
    _publish(boot, slot, folder)
    for other in SLOTS:
        if other != slot:
            image.unmount(RUN / other)
        if not os.path.lexists(STORE / f"{other}.img"):  # RAUC writes none that is not there
            with contextlib.suppress(OSError):
                (STORE / f"{other}.img").touch()
    say(f"{slot} is started" + (f", on trial, for at most {TRIAL_S:.0f} s" if slot == boot.trial else ""))
    return 0


def down() -> int:
    """Not what `ready` has made ready for the start that follows."""
    if (slot := booted()) in SLOTS:
        image.unmount(RUN / slot)
    return 0


def ready() -> int:
    """What would be started is verified and mounted. 1: what was to be is not to be had, or its start could not be
    counted, and what runs stays. Raises OSError."""
    boot, slot, spoilt = _first_whole(lambda step: step(read(FILE)))
    if spoilt:
        change(lambda boot: (_without(boot, spoilt), ""))
    if slot == boot.trial and slot != booted():
        write(FILE.parent / ".boot.try", boot)  # for nothing, but for the room that it takes
        (FILE.parent / ".boot.try").unlink()
    return 1 if spoilt and slot == booted() else 0


def switch() -> int:
    """Carries out the updater's orders, files of which nothing is read but that they are there; and `watch`'s. All that
    runs of the one release is stopped, and started of the other."""
    if (ORDERS / "selftest").exists():
        (ORDERS / "selftest").unlink()
        _systemctl("start", "--no-block", SELFTEST)
    (ORDERS / "switch").unlink(missing_ok=True)
    boot = read(FILE)
    if (boot.trial or start(boot)[1]) == booted():  # a trial's last start goes on, though none would follow it
        say(f"{booted()} runs, and is what is to run")
        return 0
    _systemctl("stop", SELFTEST)  # it is not started again: half of it would be another release's
    if _systemctl("reload", SLOT):
        return 1
    # What went before is not the new one's fault: the count of its crashes starts anew.
    safe = not _systemctl("is-active", "--quiet", SAFE)
    if safe:
        _systemctl("stop", SAFE)
    _systemctl("reset-failed", CORE)
    failed = _systemctl("restart", SLOT)
    return failed or (_systemctl("start", "--no-block", CORE) if safe else 0)


def watch() -> int:
    """Until the trial has ended one way or the other; ends it when its time is over or its core cannot be kept up."""
    try:
        trial = json.loads((RUN / "trial").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return 0
    slot = trial["slot"]
    say(f"{slot} is on trial: start {trial['start']} of {trial['starts']}, {trial['until_s'] - _now_s():.0f} s")
    while read(FILE).trial == slot:
        if why := _against(trial):
            change(partial(_ended, slot, why))
        else:
            time.sleep(_LOOK_S)
    boot = read(FILE)
    if boot.primary == slot:
        say(f"{slot} held")
        return 0
    say(f"{slot} did not hold: {boot.why}; back to {start(boot)[1]}")
    return _systemctl("start", "--no-block", SWITCH)


def _against(trial: dict[str, Any]) -> str:
    if _now_s() >= trial["until_s"]:
        return f"it did not hold within {trial['until_s'] - trial['began_s']:.0f} s"
    return "" if _systemctl("is-active", "--quiet", SAFE) else "its core broke again and again"


def _ended(slot: str, why: str, boot: Boot) -> tuple[Boot, str]:
    return (back(boot, why) if boot.trial == slot else boot), ""


def booted() -> str:
    with contextlib.suppress(OSError):
        return (RUN / "booted").read_text(encoding="utf-8").strip()
    return ""


def _first_whole(chosen: Callable[[Step], tuple[Boot, str]]) -> tuple[Boot, str, dict[str, str]]:
    """What is to be started, mounted; and what was to be before it, and why it is not."""
    spoilt: dict[str, str] = {}
    while True:
        boot, slot = chosen(lambda boot: start(_without(boot, spoilt)))
        if slot == FACTORY:
            return boot, slot, spoilt
        try:
            _mount(slot)
            return boot, slot, spoilt
        except image.SpoiltError as exc:
            say(f"{exc}; it is not started")
            spoilt[slot] = str(exc)


def _mount(slot: str) -> None:
    known = image.written(STORE / "rauc.status", f"slot.app.{SLOTS.index(slot)}")
    image.mount(STORE / f"{slot}.img", known, RUN / slot)


def _kept(step: Step) -> tuple[Boot, str]:
    """On a disk that takes nothing no start could be counted: what held runs, and nothing is tried."""
    try:
        return change(step)
    except OSError as exc:
        say(f"{FILE}: {exc.strerror}: no trial")
        return step(read(FILE)._replace(trial="", left=0))


def _without(boot: Boot, spoilt: dict[str, str]) -> Boot:
    for slot, why in spoilt.items():
        if slot == boot.trial or slot in boot.good:
            boot = spoil(boot, slot, why)
    return boot


def _publish(boot: Boot, slot: str, folder: Path) -> None:
    began = _now_s()
    if slot == boot.trial:
        trial = {"slot": slot, "start": STARTS - boot.left, "starts": STARTS, "began_s": began}
        _replace(RUN / "trial", json.dumps(trial | {"until_s": began + TRIAL_S}))
    else:
        (RUN / "trial").unlink(missing_ok=True)
    _replace(RUN / "rauc.env", f"BOOTED={slot if slot in SLOTS else '_external_'}\n")
    _replace(RUN / "booted", f"{slot}\n")
    link = RUN / "current.new"
    link.unlink(missing_ok=True)
    link.symlink_to(folder)
    link.replace(RUN / "current")


def _replace(path: Path, text: str) -> None:
    scratch = path.with_suffix(".new")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _do(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _systemctl(*arguments: str) -> int:
    done = _do("systemctl", *arguments)
    if words := done.stderr.strip():
        say(f"systemctl: {words}")
    return done.returncode


def say(words: str) -> None:
    print(f"slot: {words}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """0 done, 1 refused or not done, 2 usage."""
    run = {"up": up, "down": down, "ready": ready, "switch": switch, "watch": watch}
    try:
        if len(arguments) == 1 and arguments[0] in run:
            return run[arguments[0]]()
        step = _asked(arguments)
        if step is None:
            print((__doc__ or "").split("\n\n")[1], file=sys.stderr)
            return 2
        said = change(step)[1]
    except RefusedError as exc:
        say(str(exc))
        return 1
    except OSError as exc:
        say(f"{exc.filename or FILE}: {exc.strerror}")
        return 1
    if said:
        print(said)
    return 0


def _asked(arguments: list[str]) -> Any:
    """What those words do to a state, and say."""
    match arguments:
        case ["start"]:
            return start
        case ["hold"]:
            return lambda boot: (hold(boot), "")
        case ["back", why]:
            return lambda boot: (back(boot, why), "")
        case ["get-primary"]:
            return lambda boot: (boot, boot.trial or boot.primary)
        case ["set-primary", slot] if slot in SLOTS:
            return lambda boot: (try_out(boot, slot), "")
        case ["get-state", slot] if slot in SLOTS:
            return lambda boot: (boot, "good" if slot in boot.good else "bad")
        case ["set-state", slot, ("good" | "bad") as state] if slot in SLOTS:
            return lambda boot: (mark(boot, slot, state), "")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
