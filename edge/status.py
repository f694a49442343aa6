"""The status file: what the core says of itself, replaced once a second. Read by uplink, console, demo and check."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edge.clock import ClockStatus
from edge.history import Trouble
from edge.record.spool import SpoolStatus
from edge.types import Backend, BoardReading, SignalState, SourceStats, Struct

EVERY_NS = 1_000_000_000

K = TypeVar("K")


class StageStatus(Struct, frozen=True, kw_only=True):
    p50_ms: float
    p99_ms: float


class ModelStatus(Struct, frozen=True, kw_only=True):
    name: str
    version: str
    precision: str
    sha256: str
    backend: str


class CopyStatus(Struct, frozen=True, kw_only=True):
    """Whole pictures copied for each frame that was handed out, by source and backend together. 0 on a good day; `h2d`
    is 1 where frames are read on a GPU: they have to come there once."""

    host: float = 0.0  # within host memory
    h2d: float = 0.0  # to the GPU
    d2h: float = 0.0  # from there to host memory
    device: float = 0.0  # within the GPU's memory


def copies(source: SourceStats, backend: Backend) -> CopyStatus:
    frames, copied = max(1, source.frames), backend.copies
    return CopyStatus(
        host=round((source.host_copies + copied.host) / frames, 3),
        h2d=round((source.h2d + copied.h2d) / frames, 3),
        d2h=round(source.d2h / frames, 3),
        device=round(copied.device / frames, 3),
    )


class DiskStatus(Struct, frozen=True, kw_only=True):
    """The file system that the outbox lies on, as the core's user sees it."""

    free_mib: int
    size_mib: int
    free_inodes: int | None  # None where they are not counted


def disk(folder: Path) -> DiskStatus | None:
    """None when it is not there."""
    try:
        facts = os.statvfs(folder)
    except OSError:
        return None
    return DiskStatus(
        free_mib=facts.f_bavail * facts.f_frsize >> 20,
        size_mib=facts.f_blocks * facts.f_frsize >> 20,
        free_inodes=facts.f_favail if facts.f_files else None,
    )


class CoreStatus(Struct, frozen=True, kw_only=True):
    """`RUN_DIR/status.json`."""

    device: str
    version: str
    pid: int
    pipeline: str
    model: ModelStatus
    state: SignalState
    detail: str
    view: str  # of the last frame, "" before any
    detections: int  # in the last frame
    best_score: float  # of those, 0 without any
    classes: dict[str, str]  # head → what it said of the last frame; heads that were unsure are left out
    landmarks: list[str]  # reached in this procedure, or in the last one when there is none
    updated_ns: int  # CLOCK_MONOTONIC: older than a few seconds means the core is gone or stuck
    uptime_s: float
    fps: float
    source: SourceStats
    copies: CopyStatus
    stages: dict[str, StageStatus]
    events: int  # committed since start
    alerts: int  # of those, alerts raised
    waiting: int  # events that could not be committed yet
    fault: str  # why, or ""
    spool: SpoolStatus | None = None  # key frames and clips; None where none are kept
    effort: str = "full"  # the rung of the degradation ladder
    board: BoardReading | None = None  # None before the first reading, and when the newest is stale
    clock: ClockStatus = ClockStatus()  # what stands behind the wall clock, as the core sees it
    pipeline_sha256: str = ""  # of its file
    disk: DiskStatus | None = None
    troubles: tuple[Trouble, ...] = ()  # the last that went wrong, oldest first, over restarts of the core
    procedure: str = ""  # the one that goes on
    finished: bool = False  # the source ended and everything was committed


class SafeStatus(Struct, frozen=True, kw_only=True):
    """`RUN_DIR/safe.json`: there while the box is in its safe state, in which the core is not started."""

    reason: str  # why the core is not started, for people
    since_ns: int  # CLOCK_MONOTONIC
    until_ns: int  # ... when the core is tried again
    updated_ns: int  # ... older than a few seconds means that nobody keeps this state


SAFE_FRESH_NS = 10 * EVERY_NS


def safe_reason(path: Path) -> str:
    """Why the box is in its safe state; "" when it is not."""
    safe = read(path, SafeStatus)
    fresh = safe is not None and time.monotonic_ns() - safe.updated_ns < SAFE_FRESH_NS
    return safe.reason if safe is not None and fresh else ""


def write(path: Path, status: Any) -> None:
    """Atomic for readers. Not for power cuts: the file lives in memory (/run) and is stale a second later."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(msgspec.json.encode(status))
    fresh.replace(path)


def read(path: Path, kind: type[K]) -> K | None:
    """None when there is no (whole) status there."""
    with contextlib.suppress(OSError, msgspec.DecodeError, msgspec.ValidationError):
        return msgspec.json.decode(path.read_bytes(), type=kind)
    return None


def rss_bytes(pid: int | None = None) -> int:
    """Resident memory of a process (Linux: /proc/PID/statm, second field, in pages)."""
    fields = Path(f"/proc/{pid or 'self'}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


class Every:
    """True once per `period_ns` of the monotonic clock."""

    def __init__(self, period_ns: int = EVERY_NS) -> None:
        self._period_ns, self._due_ns = period_ns, 0

    def due(self) -> bool:
        now_ns = time.monotonic_ns()
        if now_ns < self._due_ns:
            return False
        self._due_ns = now_ns + self._period_ns
        return True
