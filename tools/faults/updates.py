"""A box that updates itself while something is done to it: real releases, real RAUC, the real updater (`tools/ota`).

What has to be so at every moment: what would be started is a whole image that was signed and published (`whole`), and
what the updater remembers can be read (`remembered`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
from packaging.version import Version

from edge import audit, status
from edge.audit import Audit
from edge.clock import SystemClock
from edge.errors import EdgeError
from edge.status import SafeStatus
from edge.update import slot, slot_image
from edge.update.client import Client
from edge.update.state import Memory
from edge.updating import STALE_NS, UpdateStatus
from tests.support.static_server import Fault, StaticServer
from tools.faults import mounts
from tools.faults.box import LostError
from tools.ota import desk, releases
from tools.ota.desk import UPDATE, Desk
from tools.ota.releases import CHANNEL, Publisher
from tools.ota.steady import Steady

FIRST = "1.0.0"  # as it was installed
TRIAL_S = 90.0
BALLAST = 3 << 20  # bytes of a release that cannot be packed any smaller
LINE_PAUSE_S = 0.002  # after each 16 KiB: 8 MB/s at most
ARRIVES_WITHIN_S = 150.0  # also after a few tries that were broken off, each of which is tried again later
KEPT = 3  # bundles that are served: a box may still fetch the one before
_TURN_S, _ASKS_EVERY_S, _WHOLE_AGAIN_S = 0.03, 2.0, 2.0
_LONG_AGO = datetime.fromtimestamp(0, timezone.utc)


def missing() -> str:
    return desk.missing() or mounts.missing()


class Source:
    """Who publishes, and its web server. The next release is built while the one before is under way."""

    def __init__(self, folder: Path) -> None:
        self.publisher = Publisher(folder / "publisher")
        self.installed = releases.thin_folder(folder / "installed", FIRST)
        self.server = StaticServer(self.publisher.repository)
        self.server.faults["bundles/*"] = Fault(pause_s=LINE_PAUSE_S)
        self.images: dict[str, str] = {}  # sha256 → version, of all that were signed
        self._number, self._ballast = 0, (folder / "ballast")
        self._builder = ThreadPoolExecutor(1)
        self._next = self._ahead()

    def __enter__(self) -> Source:
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__()
        self._builder.shutdown()

    def publish(self, **offer: Any) -> str:
        """The next release's version."""
        version, bundle = self._next.result()
        self.publisher.publish(bundle, version, **offer)
        bundle.unlink()
        for old in sorted((self.publisher.repository / "bundles").iterdir(), key=_age)[:-KEPT]:
            old.unlink()
        self._next = self._ahead()
        return version

    def build(self, version: str) -> Path:
        """An image of it."""
        content = hashlib.shake_128(version.encode()).digest(BALLAST)
        image = self.publisher.image(version, lambda folder: _put(folder / "share/ballast", content))
        self.images[_sha256(image.read_bytes())] = version
        return image

    @property
    def next_version(self) -> str:
        """That `publish` is about to give."""
        return f"1.{self._number}.0"

    def _ahead(self) -> Future[tuple[str, Path]]:
        self._number += 1
        version = self.next_version

        def made() -> tuple[str, Path]:
            image = self.build(version)
            try:
                return version, self.publisher.bundle(image, version)
            finally:
                image.unlink()

        return self._builder.submit(made)


class Life:
    """A box that runs, with a core that does well, and in systemd's place a thread. Whoever else touches the desk holds
    `hand`; it may be killed without."""

    def __init__(self, source: Source, root: Path, trial_s: float = TRIAL_S) -> None:
        self.box, self.hand = new_box(source, root, trial_s), threading.RLock()
        self.steady = Steady(self.box.run_dir, FIRST)
        self.fails: dict[str, str] = {}  # version → what its golden vectors lack
        self.breaks: dict[str, str] = {}  # version → why its core is not started any more: the safe state
        self.hangs: set[str] = set()  # versions whose updater stands still
        self._wanted = ""
        self._wrong, self._asked_s = "", 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="in-systemd's-place")

    def __enter__(self) -> Life:
        self.box.boot()
        self.steady.runs(self.box.version)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.steady.close()
        self.box.close()
        wait_for_loops(self.box)

    def want(self, version: str) -> None:
        """It asks what is offered, until this one runs or is refused."""
        self._wanted, self._asked_s = version, 0.0

    def reset(self) -> None:
        """The button: nothing is written on purpose any more, and the machine starts."""
        with self.hand:
            self.off()
            self.box.boot()

    def off(self) -> None:
        with self.hand:
            self.kill(*self.box.processes)
            self.box.close()

    def kill(self, *names: str) -> None:
        for name in names:
            if process := self.box.processes.get(name):
                process.kill()
                process.wait()

    # ------------------------------------------------------------------------------------------ what is seen of it

    @property
    def now(self) -> UpdateStatus | None:
        """What the updater that runs says; None: nothing, or not of late."""
        said, process = self.box.said(), self.box.processes.get(UPDATE)
        if said is None or process is None or said.pid != process.pid:
            return None
        return said if time.monotonic_ns() - said.updated_ns < STALE_NS else None

    def runs(self, version: str) -> bool:
        with self.hand:  # not while it switches
            return self.box.version == version

    def holds(self, version: str) -> bool:
        now = self.now
        return now is not None and now.version == version and now.state == "idle"

    def refused(self, version: str) -> bool:
        """... and another one runs."""
        now = self.now
        return now is not None and version in now.refused and now.version != version and now.state == "idle"

    def arrived(self, version: str) -> bool:
        return self.refused(version) if version in self.fails else self.holds(version)

    def arrive(self, version: str, within_s: float = ARRIVES_WITHIN_S) -> None:
        """LostError: it does not run and hold in time (or is not left, where it is a bad one)."""
        words = f"{version} {'is not left' if version in self.fails else 'does not hold'}"
        self.wait(lambda: self.arrived(version), words, within_s)

    def wait(self, so: Callable[[], object], otherwise: str, within_s: float) -> None:
        ends_s = time.monotonic() + within_s
        while not so():
            if self._wrong:
                raise LostError(self._wrong)
            if time.monotonic() > ends_s:
                raise LostError(f"{otherwise} within {within_s:.0f} s: {self.told()}")
            time.sleep(0.02)

    def told(self) -> str:
        said = self.box.said()
        words = f"{said.version} {said.state}: {said.trouble or said.detail}" if said else "it says nothing"
        return f"{words}; {self.box.boot_state()}"

    def state(self) -> str:
        """As it is on the disk just now."""
        return memory(self.box).state

    # ------------------------------------------------------------------------------------------ in systemd's place

    def _run(self) -> None:
        while not self._stop.wait(_TURN_S):
            try:
                with self.hand:
                    if not self.box.processes:
                        continue  # it is off
                    self.box.keep_up()
                    self.box.carry_out(self._test)
                    self._go_on(self.box.version)
                self._ask()
            except (EdgeError, OSError) as exc:
                self._wrong = f"{type(exc).__name__}: {exc}"
                return

    def _go_on(self, version: str) -> None:
        self.steady.runs(version)
        if version in self.hangs:
            self.box.processes[UPDATE].send_signal(signal.SIGSTOP)
        safe, now_ns = self.box.run_dir / "safe.json", time.monotonic_ns()
        if why := self.breaks.get(version):
            status.write(safe, SafeStatus(reason=why, since_ns=now_ns, until_ns=now_ns, updated_ns=now_ns))
        else:
            safe.unlink(missing_ok=True)

    def _test(self) -> None:
        self.steady.test(self.fails.get(self.box.version, ""))

    def _ask(self) -> None:
        """Whoever was killed has forgotten that somebody asked."""
        now, due = self.now, time.monotonic() > self._asked_s + _ASKS_EVERY_S
        if due and self._wanted and now is not None and now.state != "trying" and now.version != self._wanted:
            offered = now.offer.version if now.offer else ""
            if self._wanted not in (offered, *now.refused) and not any(self.box.wishes.iterdir()):
                self.box.ask("check")
                self._asked_s = time.monotonic()


def new_box(source: Source, root: Path, trial_s: float = TRIAL_S) -> Desk:
    site, publisher = desk.site(source.server.url), source.publisher
    return Desk(root, publisher.ca, publisher.root, source.installed, site, {}, trial_s)


def wait_for_loops(box: Desk) -> None:
    """Slots are unmounted lazily; the disk below them is free once their loop devices are."""
    for image in box.store.glob("*.img"):
        for _ in range(500):
            if not mounts.devices(image):
                break
            time.sleep(0.01)


@contextlib.contextmanager
def living(folder: Path, trial_s: float = TRIAL_S) -> Iterator[tuple[Source, Life]]:
    """A publisher, and one box that was just installed."""
    with Source(folder) as source, Life(source, folder / "box", trial_s) as life:
        yield source, life


# ---------------------------------------------------------------------------------------------- what has to be so


def ready(life: Life, source: Source) -> str:
    """What is wrong with that which would be started now, if the machine started; "" when nothing is."""
    with life.hand:
        box = life.box
        box.slot("ready")
        return whole(box, source, slot.start(slot.read(box.store / "boot.json"))[1])


def whole(box: Desk, source: Source, name: str) -> str:
    """What is wrong with the image of that slot, which is mounted."""
    if name == slot.FACTORY:
        return ""
    try:
        version = inside(box, source, name)
        said = str(json.loads((box.running / name / "release.json").read_text())["version"])
    except (slot_image.SpoiltError, OSError, ValueError) as exc:
        return f"{name} would be started, and is no release: {exc}"
    if not version:
        return f"{name} would be started, and its image is none that was published"
    return "" if version == said else f"{name} holds {version} and says that it is {said}"


def inside(box: Desk, source: Source, name: str) -> str:
    """The version of the image that RAUC says to have written there; "" for one that nobody published. Raises
    slot_image.SpoiltError, OSError."""
    known = slot_image.written(box.store / "rauc.status", f"slot.app.{slot.SLOTS.index(name)}")
    with (box.store / f"{name}.img").open("rb") as file:
        return source.images.get(_sha256(file.read(int(known["size"]))), "")


def installed(box: Desk, source: Source) -> str:
    """What is wrong with what the updater remembers to have had written; "" when nothing is, or it has not."""
    kept = memory(box)
    if kept.state not in ("installed", "switching", "trying") or kept.offer is None:
        return ""
    try:
        version = inside(box, source, kept.target)
    except (slot_image.SpoiltError, OSError) as exc:
        return f"it is {kept.state}, and {kept.target} holds no release: {exc}"
    return "" if version == kept.offer.version else f"it is {kept.state}, and {kept.target} holds {version or 'none'}"


def memory(box: Desk) -> Memory:
    """ValueError: there is one, and nobody could read it."""
    try:
        return msgspec.json.decode((box.state / "state.json").read_bytes(), type=Memory)
    except FileNotFoundError:
        return Memory()


def remembered(box: Desk, source: Source, checked: bool) -> str:
    """What is wrong with the updater's memory. `checked`: a repository has been seen. May be asked while it works.
    Raises ValueError, AuditError."""
    memory(box)
    client = Client(box.state, source.publisher.root, _LONG_AGO)
    ends_s = time.monotonic() + _WHOLE_AGAIN_S
    while checked and client.known(CHANNEL) is None:  # it may just have been replaced while we read it
        if time.monotonic() > ends_s:
            return "what TUF had verified is not there any more"
        time.sleep(0.05)
    history = box.state / "history"
    if any(file.stat().st_size for file in audit.files(history)):  # its first line may still be to come
        audit.verify(history)
    return ""


def remembered_after_a_start(box: Desk, source: Source, offered: str) -> None:
    """The same of a box on which nothing runs: what is there is read, and gone on with. `offered`: the version that the
    updater has said to be. Raises LostError, ValueError, EdgeError."""
    memory(box)
    client = Client(box.state, source.publisher.root, _LONG_AGO)
    known = client.known(CHANNEL)
    if offered != FIRST and (known is None or known.number < Version(offered)):
        raise LostError(f"{offered} was seen, and TUF's metadata know {known.version if known else 'nothing'}")
    client.check(str(source.publisher.repository), CHANNEL, None)
    with contextlib.closing(Audit(box.state / "history", SystemClock())) as history:
        history.note("-", "start", "afterwards")
    audit.verify(box.state / "history")


def number(version: str) -> int:
    """1.7.0 → 7."""
    return int(version.split(".")[1])


def _put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _age(path: Path) -> int:
    return path.stat().st_mtime_ns
