"""The agent: started by systemd in the guest, plays what the kernel's command line asks for, powers the machine off.

endoedge.twin=run:NAME,NAME     scenarios, in this order; results to the virtio-serial port
endoedge.twin=shell             a box with a signal, for a person at the console
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.twin import scenarios, words
from tools.twin.guest import box, updates, vivid
from tools.twin.guest.twin import NotHeldError, Tell, Twin
from tools.twin.guest.vivid import Hdmi
from tools.twin.guest.watch import Watch
from tools.twin.words import Began, Done, Ended, File, Tick, Up, Word

TICK_S = 2.0
LOOK_S = 0.2


def main() -> int:
    mode, _, names = _asked().partition(":")
    if mode == "shell":
        _become_a_box()
        Hdmi().load()
        box.start(box.UPLINK)
        box.start(box.CORE)
        return 0
    with _port() as tell:
        problem = ""
        try:
            tell(Up(kernel=os.uname().release, uptime_s=round(time.monotonic(), 1)))
            wanted = names.split(",")
            with _every(TICK_S, lambda: tell(Tick(uptime_s=round(time.monotonic(), 1)))):
                if scenarios.load(wanted[0]).updates:
                    _update_itself(wanted[0], tell)
                else:
                    _become_a_box()
                    with Watch(box.RUN_DIR / "status.json").running() as watch:
                        for name in wanted:
                            play(name, watch, tell)
            tell(File(name="journal.txt", text=box.journal()))
        except Exception as exc:
            problem = f"the agent gave up: {type(exc).__name__}: {exc}"
            traceback.print_exc()  # to the console's file
        finally:
            tell(Done(problem=problem))
            subprocess.run(["systemctl", "poweroff", "--no-block"], check=False)
    return 0


def _become_a_box() -> None:
    box.install()
    box.write_site()
    box.start(box.SLOT)


def _update_itself(name: str, tell: Tell) -> None:
    """On a disk that is kept: this boot may go on with what another one began."""
    updates.become_a_box(scenarios.load(name).camera)
    look, last = updates.Look(), None

    def say() -> None:
        nonlocal last
        now = look.now()
        if now != last:
            tell(now)
            last = now

    with _every(LOOK_S, say), Watch(box.RUN_DIR / "status.json").running() as watch:
        play(name, watch, tell)


def play(name: str, watch: Watch, tell: Tell) -> None:
    """One scenario and its evidence. Whatever it raises is its result."""
    tell(Began(scenario=name))
    twin, began_s, problem = Twin(name, watch, tell), time.monotonic(), ""
    try:
        scenarios.load(name).run(twin)
        twin.check()
    except NotHeldError as exc:
        problem = str(exc)
    except Exception as exc:  # the rig's own fault is a failed scenario too
        problem = f"{type(exc).__name__}: {exc}"
        tell(File(name=f"{name}/traceback.txt", text=traceback.format_exc()))
    for file in twin.evidence():
        tell(file)
    box.stop(box.CORE)  # the next one finds the device free
    seconds = round(time.monotonic() - began_s, 1)
    tell(Ended(scenario=name, problem=problem, seconds=seconds, measured=twin.measured))


def _asked() -> str:
    for word in Path("/proc/cmdline").read_text().split():
        if word.startswith(f"{words.MODE}="):
            return word.partition("=")[2]
    raise SystemExit(f"{words.MODE} is not on the kernel's command line")


@contextlib.contextmanager
def _port() -> Iterator[Tell]:
    path = Path("/dev/virtio-ports") / words.PORT
    vivid.wait_for_path(path, 30)
    turn = threading.Lock()
    with path.open("wb", buffering=0) as port:

        def tell(word: Word) -> None:
            rest = memoryview(words.encode(word) + b"\n")
            with turn:
                while rest:
                    rest = rest[port.write(rest) :]

        yield tell


@contextlib.contextmanager
def _every(seconds: float, do: Callable[[], None]) -> Iterator[None]:
    """In a thread, until the end. What it raises is the console's to say, and ends it."""
    over = threading.Event()

    def turns() -> None:
        while not over.wait(seconds):
            do()

    thread = threading.Thread(target=turns, name="turns")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
