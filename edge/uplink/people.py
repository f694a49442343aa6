"""Who hears how the uplink is: the status file, systemd, whoever scrapes `/metrics` or has it pushed."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edge.errors import UplinkError
from edge.history import Trouble
from edge.status import CoreStatus, read, safe_reason
from edge.systemd import Notifier
from edge.updating import UpdateStatus
from edge.uplink.config import MetricsConfig
from edge.uplink.local import replace
from edge.uplink.retained import brief
from edge.uplink.wire import ReportsStatus, Telemetry, UplinkStatus
from edge.watchdog import Pulse, UplinkBeat, uplink_rows

if TYPE_CHECKING:
    from edge.uplink.metrics import Exporter
    from edge.uplink.push import Push
    from edge.uplink.reports import Reports

_CORE_BYTES = 1 << 16


class People:
    """Owner: the uplink's thread."""

    def __init__(
        self,
        status_path: Path,
        core_path: Path | None,
        safe_path: Path | None,
        retry_max_s: float,
        exporter: Exporter | None = None,
        push: Push | None = None,
        reports: Reports | None = None,
        update_path: Path | None = None,
    ) -> None:
        """`core_path`, `safe_path`, `update_path`: what core, safe state and updater say of themselves."""
        self._status_path, self._core_path, self._safe_path = status_path, core_path, safe_path
        self._update_path = update_path
        self._notifier, self._exporter, self._push, self._reports = Notifier(), exporter, push, reports
        # Ready: the loop turns. Broker and outbox may be hours away.
        self._pulse: Pulse[UplinkBeat] = Pulse(self._notifier, uplink_rows(retry_max_s))

    def core(self) -> Any:
        """Core's status file as it is; None when there is none, or it is not a small JSON document."""
        if self._core_path is None:
            return None
        try:
            content = self._core_path.read_bytes()
            return msgspec.json.decode(content) if len(content) <= _CORE_BYTES else None
        except (OSError, msgspec.DecodeError):
            return None

    def telemetry(self, status: UplinkStatus) -> bytes:
        update = brief(self.update())
        telemetry = Telemetry(
            device=status.device, at=status.updated_at, core=self.core(), uplink=status, update=update
        )
        return msgspec.json.encode(telemetry)

    def safe(self) -> str:
        """Why the box is in its safe state; "" when it is not."""
        return safe_reason(self._safe_path) if self._safe_path else ""

    def update(self) -> UpdateStatus | None:
        """None: there is no updater, or nobody understands it."""
        return read(self._update_path, UpdateStatus) if self._update_path else None

    def earlier_troubles(self) -> tuple[Trouble, ...]:
        """Of the uplink before this one."""
        before = read(self._status_path, UplinkStatus)
        return before.troubles if before else ()

    def push_fault(self) -> str:
        """Why figures that should be pushed are not; "" when they are, or nobody wants them."""
        return self._push.fault if self._push else ""

    def reports(self, *, busy: bool) -> ReportsStatus | None:
        """What became of them; None where there is no report server. `busy`: messages wait, and go first."""
        if self._reports is None:
            return None
        self._reports.busy = busy
        return self._reports.status()

    def tell(self, status: UplinkStatus, attempts: int) -> str:
        """`attempts`: at a connection. Why the status file could not be written; "" when it was."""
        beat = UplinkBeat(
            time.monotonic_ns(), status.connected, attempts, status.depth, status.delivered, status.last_error
        )
        self._pulse.beat(beat, lambda: _words(status))
        if self._exporter is not None:
            core = read(self._core_path, CoreStatus) if self._core_path else None
            self._exporter.show(status, core, self.update())
        try:
            replace(self._status_path, msgspec.json.encode(status))
        except OSError as exc:
            return f"{self._status_path}: {exc.strerror}"
        return ""

    def close(self) -> None:
        self._notifier.say("STOPPING=1", "STATUS=ends")
        self._notifier.close()
        if self._reports is not None:
            self._reports.close()
        if self._push is not None:
            self._push.close()
        if self._exporter is not None:
            self._exporter.close()


def open_exporter(config: MetricsConfig | None, disk: Path) -> Exporter | None:
    """Raises UplinkError: no prometheus_client here, or nobody may listen there."""
    if config is None:
        return None
    try:
        metrics = importlib.import_module("edge.uplink.metrics")
    except ImportError as exc:
        raise UplinkError("[uplink.metrics] needs prometheus_client: pip install 'endoedge[metrics]'") from exc
    exporter: Exporter = metrics.Exporter(config, disk)
    return exporter


def _words(status: UplinkStatus) -> str:
    link = status.last_error or f"connected to {status.broker}"
    words = f"{link}; {status.depth} messages wait" if status.depth > 0 else link
    return f"safe state: {status.safe}; {words}" if status.safe else words
