"""What the console can see of this box: status files, outbox, configuration. All of it read-only, none of it needed.

Files of another version of core or uplink are read as far as they are understood: an unknown key is passed over, a
missing one has a default. So the console answers in the middle of an update, too.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from edge import release, updating
from edge.clock import Clock
from edge.console.orders import Orders

STALE_S, SAFE_STALE_S = 5.0, 10.0  # a status is written once a second
_FILE_MOST = 1 << 20
_LOCK_WAIT_S = 0.05  # `status` should not wait for a writer
_UNITS = "endoedge-*"  # consoles and orders have the name of a port or unit after an @


_WAITING = "SELECT count(*), (SELECT committed_at FROM outbox ORDER BY seq LIMIT 1) FROM outbox"


class StageView(msgspec.Struct, frozen=True):
    p50_ms: float = 0.0
    p99_ms: float = 0.0


class ModelView(msgspec.Struct, frozen=True):
    name: str = "?"
    version: str = "?"
    precision: str = "?"
    sha256: str = "?"
    backend: str = "?"


class SourceView(msgspec.Struct, frozen=True):
    frames: int = 0
    dropped: int = 0
    repeated: int = 0
    withheld: int = 0
    rebuilds: int = 0
    memory: str = "?"


class SpoolView(msgspec.Struct, frozen=True):
    fault: str = ""
    procedures: int = 0
    waiting: int = 0


class ReportsView(msgspec.Struct, frozen=True):
    """Of `edge.uplink.wire.ReportsStatus`."""

    server: str = "?"
    waiting: int = 0
    sent: int = 0
    aside: dict[str, str] = msgspec.field(default_factory=dict)
    fault: str = ""


class ZoneView(msgspec.Struct, frozen=True):
    temperature_c: float | None = None
    limit_c: float | None = None


class BoardView(msgspec.Struct, frozen=True):
    kind: str = "?"
    model: str | None = None
    release: str | None = None
    power_mode: str | None = None
    zones: dict[str, ZoneView] = msgspec.field(default_factory=dict)
    throttled: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class SafeView(msgspec.Struct, frozen=True):
    """Of `edge.status.SafeStatus`: the core broke again and again, and is left alone for a while."""

    reason: str = ""
    updated_ns: int = 0


class DiskView(msgspec.Struct, frozen=True):
    free_mib: int = 0
    size_mib: int = 0


class TroubleView(msgspec.Struct, frozen=True):
    """Of `edge.history.Trouble`."""

    where: str = "?"
    what: str = "?"
    since_ns: int = 0
    until_ns: int = 0  # 0: it lasts


class CoreView(msgspec.Struct, frozen=True):
    """Of `edge.status.CoreStatus`, what the console shows."""

    version: str = "?"
    pid: int = 0
    pipeline: str = "?"
    model: ModelView = ModelView()
    state: str = "?"
    detail: str = ""
    view: str = ""
    detections: int = 0
    landmarks: list[str] = msgspec.field(default_factory=list)
    updated_ns: int = 0
    uptime_s: float = 0.0
    fps: float = 0.0
    source: SourceView = SourceView()
    stages: dict[str, StageView] = msgspec.field(default_factory=dict)
    events: int = 0
    alerts: int = 0
    waiting: int = 0
    fault: str = ""
    spool: SpoolView | None = None
    effort: str = "?"
    board: BoardView | None = None
    pipeline_sha256: str = "?"
    disk: DiskView | None = None
    troubles: list[TroubleView] = msgspec.field(default_factory=list)


class UplinkView(msgspec.Struct, frozen=True):
    """Of `edge.uplink.wire.UplinkStatus`, what the console shows."""

    broker: str = "?"
    pid: int = 0
    updated_ns: int = 0
    connected: bool = False
    last_error: str = ""
    waiting: dict[str, str] = msgspec.field(default_factory=dict)
    depth: int = -1
    oldest_age_s: float = 0.0
    delivered: int = 0
    refused: int = 0
    troubles: list[TroubleView] = msgspec.field(default_factory=list)
    metrics_push: str = ""
    reports: ReportsView | None = None


class OfferView(msgspec.Struct, frozen=True):
    """Of `edge.updating.Said`."""

    version: str = "?"
    bytes: int = 0
    content: str = "?"
    changes: str = ""
    clinical: str = ""


class ObstacleView(msgspec.Struct, frozen=True):
    words: str = "?"
    waits: bool = True


class TrialView(msgspec.Struct, frozen=True):
    until_s: float = 0.0  # CLOCK_BOOTTIME
    healthy_s: float = 0.0
    needed_s: float = 0.0
    lacks: str = ""


class AnswerView(msgspec.Struct, frozen=True):
    id: str = "?"
    done: bool = False
    ok: bool = True
    words: str = ""


class UpdateView(msgspec.Struct, frozen=True):
    """Of `edge.updating.UpdateStatus`."""

    version: str = "?"
    slot: str = "?"
    channel: str = "?"
    updated_ns: int = 0
    state: str = "?"
    detail: str = ""
    percent: int = 0
    offer: OfferView | None = None
    obstacles: tuple[ObstacleView, ...] = ()
    checked_at: str = ""
    clock_trusted: bool = False
    trouble: str = ""
    refused: tuple[str, ...] = ()
    trial: TrialView | None = None
    answers: tuple[AnswerView, ...] = ()


class Queue(NamedTuple):
    """The outbox: messages that wait, and when the oldest was committed, by the wall clock of then."""

    depth: int
    oldest: str


V = TypeVar("V")


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is. Paths are absolute."""

    device: str
    config_file: Path
    run_dir: Path
    outbox: Path
    clock: Clock
    root: Path = Path("/")  # of /proc and /sys
    journalctl: Sequence[str] = ("journalctl",)
    orders: Orders = Orders()
    wishes: Path = updating.WISHES  # for the updater
    update_history: Path = Path("/var/lib/endoedge-update/history")
    ip: Sequence[str] = ("ip",)
    check: Sequence[str] = ()  # the self-test's command, where there is no unit for it
    config_error: str = ""  # why the site's file was not understood

    @property
    def journal_command(self) -> list[str]:
        """Our units' lines, as JSON; what to append: `-n`, a number."""
        return [*self.journalctl, "--no-pager", "--quiet", "-o", "json", "-u", _UNITS]

    def core(self) -> CoreView | str:
        """Or why there is none, in one line."""
        return _view(self.run_dir / "status.json", CoreView)

    def safe_reason(self) -> str:
        """Why the box is in its safe state; "" when it is not."""
        safe = _view(self.run_dir / "safe.json", SafeView)
        if isinstance(safe, str) or (self.clock.now_ns() - safe.updated_ns) / 1e9 > SAFE_STALE_S:
            return ""
        return safe.reason

    def core_age_s(self, core: CoreView) -> float:
        return (self.clock.now_ns() - core.updated_ns) / 1e9

    def uplink(self) -> UplinkView | str:
        return _view(self.run_dir / "uplink.json", UplinkView)

    def uplink_age_s(self, uplink: UplinkView) -> float:
        return (self.clock.now_ns() - uplink.updated_ns) / 1e9

    def update(self) -> UpdateView | str:
        return _view(self.run_dir / updating.STATUS, UpdateView)

    def update_age_s(self, update: UpdateView) -> float:
        return (self.clock.now_ns() - update.updated_ns) / 1e9

    def queue(self) -> Queue | str:
        if not self.outbox.exists():
            return f"{self.outbox}: not there yet; the core makes it"
        # Closed by all, it has no WAL, and who may not make one has to promise that nobody writes meanwhile.
        closed = not self.outbox.with_name(self.outbox.name + "-wal").exists()
        address = f"{self.outbox.as_uri()}?mode=ro{'&immutable=1' if closed else ''}"
        try:
            with contextlib.closing(sqlite3.connect(address, uri=True, timeout=_LOCK_WAIT_S)) as db:
                depth, oldest = db.execute(_WAITING).fetchone()
        except sqlite3.Error as exc:
            return f"{self.outbox}: {exc}"
        return Queue(int(depth), oldest or "")

    def config_text(self) -> str:
        return _small(self.config_file).decode("utf-8", "replace")

    def text(self, name: str) -> str:
        """A small file of the kernel under `root`; "" when it cannot be read."""
        return _small(self.root / name).decode("utf-8", "replace").strip(" \t\r\n\0")

    def snapshot(self) -> bytes:
        """The status files as they are, for machines."""
        console = {
            "version": release.version(),
            "device": self.device,
            "boot": self.clock.boot,
            "now_ns": self.clock.now_ns(),
            "config_error": self.config_error,
        }
        files = {"core": "status.json", "uplink": "uplink.json", "update": updating.STATUS}
        said = {name: _json(self.run_dir / file) for name, file in files.items()}
        return msgspec.json.encode({"console": console, **said})


def _view(path: Path, kind: type[V]) -> V | str:
    content = _small(path)
    if not content:
        return f"does not run, or has not since the machine started: {path} is not there"
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as exc:
        return f"{path}: not understood: {exc}"


def _json(path: Path) -> Any:
    with contextlib.suppress(msgspec.DecodeError):
        return msgspec.json.decode(_small(path))
    return None


def _small(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_MOST)
    except OSError:
        return b""
