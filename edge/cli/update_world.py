"""What the updater sees of this box: slots, status files, the board, disks, the clock."""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge import board, clock, status
from edge.board import Board
from edge.cli.site import Site
from edge.console.report import Report, Row
from edge.decide.states import IN_BODY
from edge.errors import UpdateError
from edge.types import BoardReading, SignalState, Struct
from edge.update import slot
from edge.update.config import Places
from edge.update.gate import Sample
from edge.update.policy import Moment
from edge.update.state import Health, Slots

FRESH_NS = 5_000_000_000
BOARD_EVERY_S = 10.0
MODEL_ROWS = ("model", "null frame", "golden vectors", "phantom")  # of the self-test: what a release brings with it
SWITCH, TEST, SELFTEST = "switch", "selftest", "selftest.json"


class UplinkView(msgspec.Struct, frozen=True):
    """Of `edge.uplink.wire.UplinkStatus`. What a release before or after this one says is read as far as it goes."""

    connected: bool = False
    updated_ns: int = 0


class StageView(msgspec.Struct, frozen=True):
    p99_ms: float = 0.0


class SourceView(msgspec.Struct, frozen=True):
    frames: int = 0


class CoreView(msgspec.Struct, frozen=True):
    """Of `edge.status.CoreStatus`."""

    version: str = ""
    pid: int = 0
    state: SignalState = SignalState.STARTING
    view: str = ""
    procedure: str = ""
    fps: float = 0.0
    updated_ns: int = 0
    source: SourceView = SourceView()
    stages: dict[str, StageView] = msgspec.field(default_factory=dict)

    @property
    def p99_ms(self) -> float:
        return max((stage.p99_ms for stage in self.stages.values()), default=0.0)


class Trying(Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """`/run/endoedge-slots/trial`."""

    began_s: float
    until_s: float


class BoxWorld:
    """Owner: the updater's thread."""

    def __init__(self, site: Site, places: Places, root: Path = Path("/")) -> None:
        self._site, self._root = site, root
        self._boot, self._running = Path(places.slots) / "boot.json", Path(places.running)
        self._slots, self._state, self._orders = Path(places.slots), Path(places.state), Path(places.orders)
        self._board: Board = board.open(root)
        self._reading: BoardReading | None = None
        self._read_s = 0.0

    # ------------------------------------------------------------------------------------------ slots

    def slots(self) -> Slots:
        boot = slot.read(self._boot)
        return Slots(self._booted(), boot.trial, boot.trials, boot.good, boot.why)

    def trial(self) -> tuple[float, float]:
        try:
            found = msgspec.json.decode((self._running / "trial").read_bytes(), type=Trying)
        except (OSError, msgspec.DecodeError) as exc:
            raise UpdateError(f"{self._running / 'trial'}: {exc}") from exc
        return found.began_s, found.until_s

    def restart(self) -> None:
        self._order(SWITCH)

    def test(self) -> None:
        self._order(TEST)

    def _order(self, name: str) -> None:
        """Of systemd/endoedge-switch.path."""
        order = self._orders / name
        try:
            order.touch()
        except OSError as exc:
            raise UpdateError(f"{order}: cannot be made: {exc.strerror}") from exc

    def _booted(self) -> str:
        try:
            return (self._running / "booted").read_text().strip() or slot.FACTORY
        except OSError:
            return slot.FACTORY

    # ------------------------------------------------------------------------------------------ how things are

    def now(self) -> datetime | None:
        wall = clock.read()
        return datetime.fromtimestamp(wall.at_s, timezone.utc) if wall.trusted else None

    def moment(self) -> Moment:
        reading = self._board_now()
        zones = [zone.temperature_c for zone in reading.zones.values() if zone.temperature_c is not None]
        wall = clock.read()
        local = time.localtime(wall.at_s)
        return Moment(
            procedure=self._procedure(),
            free_bytes=_free(self._state),
            slot_bytes=self._slot_bytes(),
            mains=mains(self._root),
            temperature_c=max(zones, default=None),
            throttled=bool(reading.throttled),
            minute=local.tm_hour * 60 + local.tm_min if wall.trusted else None,
        )

    def health(self) -> Health:
        core = self._core()
        live = core is not None and core.state is SignalState.LIVE
        return Health(
            live=live,
            fps=core.fps if core is not None and live else 0.0,
            p99_ms=core.p99_ms if core is not None and live else 0.0,
            connected=self._connected(),
        )

    def sample(self, began_s: float) -> Sample:
        core, tested = self._core(), self._tested(began_s)
        now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        seen = Sample(
            at_s=now_s,
            connected=self._connected(),
            safe=status.safe_reason(self._site.safe_path),
            tested=tested.ok if tested else None,
            test_words=tested.words if tested else "",
        )
        if core is None:
            return seen
        return seen._replace(
            core_pid=core.pid,
            version=core.version,
            state=core.state,
            fps=core.fps,
            frames=core.source.frames,
            p99_ms=core.p99_ms,
        )

    def _procedure(self) -> bool | None:
        """A view of the inside is one, too: a procedure is told late. Where the core is left alone nobody watches."""
        core = self._core()
        if core is None:
            return False if status.safe_reason(self._site.safe_path) else None
        inside = core.state is SignalState.LIVE and core.view in {view.value for view in IN_BODY}
        return bool(core.procedure) or inside

    def _core(self) -> CoreView | None:
        core = status.read(self._site.status_path, CoreView)
        return core if core is not None and _fresh(core.updated_ns) else None

    def _connected(self) -> bool:
        uplink = status.read(self._site.uplink_status_path, UplinkView)
        return uplink is not None and _fresh(uplink.updated_ns) and uplink.connected

    def _tested(self, began_s: float) -> Tested | None:
        """The self-test that was made in this trial. Of its rows those count that a release answers for."""
        report = status.read(self._site.run_dir / SELFTEST, Report)
        boot_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()  # what a machine has slept
        if report is None or report.at_ns / 1e9 + boot_s < began_s:
            return None
        wrong = [row for row in report.checks if row.what in MODEL_ROWS and row.good is False]
        return Tested(not wrong, "; ".join(map(_told, wrong)))

    def _board_now(self) -> BoardReading:
        now_s = time.monotonic()
        if self._reading is None or now_s - self._read_s > BOARD_EVERY_S:
            self._reading, self._read_s = self._board.read(), now_s
        return self._reading

    def _slot_bytes(self) -> int | None:
        """What the smaller of the slots that do not run may take; None for partitions."""
        files = [self._slots / f"{name}.img" for name in slot.SLOTS if name != self._booted()]
        taken = [file.stat().st_size if file.is_file() else 0 for file in files]
        if any(file.is_block_device() for file in files):
            return None
        return _free(self._slots) + min(taken)


class Tested(NamedTuple):
    ok: bool
    words: str


def mains(root: Path = Path("/")) -> bool | None:
    """Whether the power comes from outside (power_supply(5) of sysfs). None: the machine does not say."""
    online = [
        _text(file.parent / "online") for file in root.glob("sys/class/power_supply/*/type") if _text(file) == "Mains"
    ]
    return any(one == "1" for one in online) if online else None


def _told(row: Row) -> str:
    return f"{row.what}: {row.found}"


def _fresh(updated_ns: int) -> bool:
    return time.monotonic_ns() - updated_ns < FRESH_NS


def _free(folder: Path) -> int:
    """0 where it is not there."""
    try:
        facts = os.statvfs(folder)
    except OSError:
        return 0
    return facts.f_bavail * facts.f_frsize


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
