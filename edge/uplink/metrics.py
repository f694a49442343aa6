"""`/metrics` for Prometheus: what core and uplink say of themselves, in other words. Alone knows prometheus_client.

Nothing is counted here: what neither of the two says is not exported, and a core that has said nothing for a while has
no figures but `endoedge_core_up 0`. METRICS is the list; the dashboard in docs/grafana is held against it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, get_args

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from edge.errors import UplinkError
from edge.status import CoreStatus
from edge.types import SignalState
from edge.updating import STALE_NS, State, UpdateStatus
from edge.uplink.config import MetricsConfig
from edge.uplink.wire import ReportsStatus, UplinkStatus

CORE_FRESH_NS = 5_000_000_000


class Seen(NamedTuple):
    """What is known of the box at one moment."""

    uplink: UplinkStatus
    core: CoreStatus | None  # None: there is none, or it has said nothing for a while
    disk_free: int  # bytes, where the outbox lies; -1 when that cannot be told
    update: UpdateStatus | None = None  # None: there is no updater, or it has said nothing for a while


Samples = Iterable[tuple[tuple[str, ...], float | None]]
"""Values by their labels' values, in the order of the metric's labels. None: not known, and left out."""


class Metric(NamedTuple):
    """One family. Names that end in `_total` are counters, since the process started."""

    name: str
    help: str
    samples: Callable[[Seen], Samples]
    labels: tuple[str, ...] = ()


def _one(value: Callable[[Seen], float | None]) -> Callable[[Seen], Samples]:
    return lambda seen: [((), value(seen))]


def _core(value: Callable[[CoreStatus], float | None]) -> Callable[[Seen], Samples]:
    return lambda seen: [((), value(seen.core))] if seen.core else []


def _of_core(samples: Callable[[CoreStatus], Samples]) -> Callable[[Seen], Samples]:
    return lambda seen: samples(seen.core) if seen.core else []


def _of_board(name: str) -> Callable[[Seen], Samples]:
    """A field of the board's reading that is values by name."""
    return _of_core(lambda core: [((key,), value) for key, value in getattr(core.board, name, {}).items()])


def _zones(field: str) -> Callable[[Seen], Samples]:
    return _of_core(
        lambda core: [
            ((name,), getattr(zone, field)) for name, zone in (core.board.zones if core.board else {}).items()
        ]
    )


def _info(seen: Seen) -> Samples:
    core = seen.core
    if core is not None:
        model = core.model
        yield (seen.uplink.device, core.version, core.pipeline, model.name, model.version, model.precision), 1


def _reports(value: Callable[[ReportsStatus], float]) -> Callable[[Seen], Samples]:
    return lambda seen: [((), value(seen.uplink.reports))] if seen.uplink.reports else []


def _update(value: Callable[[UpdateStatus], float | None]) -> Callable[[Seen], Samples]:
    return lambda seen: [((), value(seen.update))] if seen.update else []


def _looked(update: UpdateStatus) -> float | None:
    """None before the first time, and where one of the two clocks cannot have been right."""
    with contextlib.suppress(ValueError):
        since_s = time.time() - datetime.fromisoformat(update.checked_at.replace("Z", "+00:00")).timestamp()
        return since_s if since_s >= 0 else None
    return None


def _stages(core: CoreStatus) -> Samples:
    for name, stage in core.stages.items():
        yield ("p50", name), stage.p50_ms / 1e3
        yield ("p99", name), stage.p99_ms / 1e3


def _faults(seen: Seen) -> Samples:
    yield ("uplink",), bool(seen.uplink.last_error)
    yield ("metrics_push",), bool(seen.uplink.metrics_push)
    if seen.uplink.reports is not None:
        yield ("reports",), bool(seen.uplink.reports.fault)
    if seen.update is not None:
        yield ("update",), bool(seen.update.trouble)
    if seen.core is not None:
        yield ("outbox",), bool(seen.core.fault)
        yield ("board",), bool(seen.core.board and seen.core.board.problems)
        yield ("spool",), bool(seen.core.spool and seen.core.spool.fault)


_FRAMES = ("frames", "dropped", "spared", "repeated", "withheld")
_COPIES = ("host", "h2d", "d2h", "device")

METRICS = (
    Metric(
        "endoedge_info",
        "What runs here.",
        _info,
        ("device", "version", "pipeline", "model", "model_version", "precision"),
    ),
    Metric("endoedge_core_up", "Whether the core has said something of itself lately.", _one(lambda s: bool(s.core))),
    Metric(
        "endoedge_safe_state",
        "Whether the core is left alone because it broke again and again.",
        _one(lambda s: bool(s.uplink.safe)),
    ),
    Metric("endoedge_fault", "Whether something is the matter; the status files say what.", _faults, ("part",)),
    Metric("endoedge_core_uptime_seconds", "Since the core started.", _core(lambda c: c.uptime_s)),
    Metric(
        "endoedge_signal_state",
        "1 for the state that the signal is in.",
        _of_core(lambda c: [((state.value,), state is c.state) for state in SignalState]),
        ("state",),
    ),
    Metric("endoedge_frames_per_second", "Frames analysed.", _core(lambda c: c.fps)),
    Metric(
        "endoedge_frames_total",
        "What became of the frames.",
        _of_core(lambda c: [((name,), getattr(c.source, name)) for name in _FRAMES]),
        ("what",),
    ),
    Metric("endoedge_rebuilds_total", "Pipelines built anew.", _core(lambda c: c.source.rebuilds)),
    Metric("endoedge_stage_seconds", "Time of each stage of a frame, lately.", _of_core(_stages), ("at", "stage")),
    Metric(
        "endoedge_copies_per_frame",
        "Whole pictures copied for each frame.",
        _of_core(lambda c: [((name,), getattr(c.copies, name)) for name in _COPIES]),
        ("kind",),
    ),
    Metric("endoedge_events_total", "Events committed.", _core(lambda c: c.events)),
    Metric("endoedge_alerts_total", "Alerts among them.", _core(lambda c: c.alerts)),
    Metric("endoedge_events_uncommitted", "Events that wait for the disk.", _core(lambda c: c.waiting)),
    Metric(
        "endoedge_spool_bytes", "Key frames and clips on the disk.", _core(lambda c: c.spool.bytes if c.spool else None)
    ),
    Metric(
        "endoedge_spool_dropped_total",
        "Key frames and clips that the disk could not take.",
        _core(lambda c: c.spool.dropped if c.spool else None),
    ),
    Metric(
        "endoedge_effort",
        "1 for the rung of the degradation ladder.",
        _of_core(lambda c: [((c.effort,), 1)]),
        ("rung",),
    ),
    Metric("endoedge_temperature_celsius", "The board's zones.", _zones("temperature_c"), ("zone",)),
    Metric(
        "endoedge_temperature_limit_celsius", "From where on the board slows itself down.", _zones("limit_c"), ("zone",)
    ),
    Metric("endoedge_power_watts", "The board's rails.", _of_board("power_w"), ("rail",)),
    Metric("endoedge_clock_megahertz", "The board's clocks.", _of_board("clocks_mhz"), ("unit",)),
    Metric("endoedge_gpu_load_ratio", "0 to 1.", _core(lambda c: c.board.gpu_load if c.board else None)),
    Metric(
        "endoedge_throttled",
        "1 for each part that the hardware holds back now.",
        _of_core(lambda c: [((name,), 1) for name in (c.board.throttled if c.board else ())]),
        ("part",),
    ),
    Metric("endoedge_throttle_events_total", "Since the machine started.", _of_board("throttle_events"), ("part",)),
    Metric(
        "endoedge_outbox_messages",
        "Messages that wait for the broker.",
        _one(lambda s: s.uplink.depth if s.uplink.depth >= 0 else None),
    ),
    Metric("endoedge_outbox_oldest_seconds", "How long the oldest has waited.", _one(lambda s: s.uplink.oldest_age_s)),
    Metric("endoedge_broker_connected", "Whether the broker has us.", _one(lambda s: s.uplink.connected)),
    Metric("endoedge_broker_connects_total", "Connections made.", _one(lambda s: s.uplink.connects)),
    Metric("endoedge_delivered_total", "Messages delivered.", _one(lambda s: s.uplink.delivered)),
    Metric("endoedge_republished_total", "Messages sent once more.", _one(lambda s: s.uplink.republished)),
    Metric("endoedge_refused_total", "Messages refused by the broker.", _one(lambda s: s.uplink.refused)),
    Metric("endoedge_unheard_total", "Messages that nobody subscribes to.", _one(lambda s: s.uplink.no_subscriber)),
    Metric(
        "endoedge_reports_waiting", "Procedures that the report server has not got yet.", _reports(lambda r: r.waiting)
    ),
    Metric(
        "endoedge_reports_aside", "Procedures that the report server will not take.", _reports(lambda r: len(r.aside))
    ),
    Metric("endoedge_reports_sent_total", "Procedures that the report server took.", _reports(lambda r: r.sent)),
    Metric("endoedge_reports_bytes_total", "Sent to the report server.", _reports(lambda r: r.bytes)),
    Metric("endoedge_update_up", "Whether the updater has said something lately.", _one(lambda s: bool(s.update))),
    Metric(
        "endoedge_update_state",
        "1 for the state that the updater is in.",
        lambda seen: [((state,), state == seen.update.state) for state in get_args(State)] if seen.update else [],
        ("state",),
    ),
    Metric("endoedge_update_checked_seconds", "Since the channel was last seen.", _update(_looked)),
    Metric("endoedge_update_trial", "Whether a release is on trial.", _update(lambda u: u.trial is not None)),
    Metric(
        "endoedge_update_refused_versions", "That were tried here and did not hold.", _update(lambda u: len(u.refused))
    ),
    Metric(
        "endoedge_disk_free_bytes", "Where the outbox lies.", _one(lambda s: s.disk_free if s.disk_free >= 0 else None)
    ),
    Metric(
        "endoedge_clock_trusted",
        "Whether a time server or another reference stands behind the wall clock.",
        _one(lambda s: s.uplink.clock.trusted),
    ),
    Metric(
        "endoedge_clock_source",
        "1 for who keeps the wall clock right.",
        lambda seen: [((seen.uplink.clock.source,), 1)],
        ("source",),
    ),
    Metric("endoedge_clock_error_seconds", "How far off it may be.", _one(lambda s: s.uplink.clock.error_s)),
)


class Exporter(Collector):
    """Answers scrapes in threads of its own, from the last `Seen` that it was given. Opened by the uplink's thread."""

    def __init__(self, config: MetricsConfig, disk: Path) -> None:
        """`disk`: the folder whose partition is told of. Raises UplinkError when nobody may listen there."""
        self._disk = disk
        self._seen: Seen | None = None
        self._registry = registry = CollectorRegistry()
        registry.register(self)
        try:
            self._server, self._thread = start_http_server(config.port, config.address, registry)
        except OSError as exc:
            where = f"{config.address}:{config.port}"
            raise UplinkError(f"uplink.metrics: cannot listen at {where}: {exc.strerror or exc}") from exc
        self.port = self._server.server_port

    def show(self, uplink: UplinkStatus, core: CoreStatus | None, update: UpdateStatus | None = None) -> None:
        now_ns = time.monotonic_ns()
        core = core if core and now_ns - core.updated_ns < CORE_FRESH_NS else None
        update = update if update and now_ns - update.updated_ns < STALE_NS else None
        self._seen = Seen(uplink, core, _free(self._disk), update)

    def text(self) -> bytes:
        """What a scrape would be answered with; b"" before anything is known. Callable from any thread."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        seen = self._seen
        for metric in METRICS if seen else ():
            assert seen is not None
            kind = CounterMetricFamily if metric.name.endswith("_total") else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=metric.labels)
            for labels, value in metric.samples(seen):
                if value is not None:
                    family.add_metric(labels, float(value))
            if family.samples:
                yield family

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _free(folder: Path) -> int:
    try:
        stat = os.statvfs(folder)
    except OSError:
        return -1
    return stat.f_bavail * stat.f_frsize
